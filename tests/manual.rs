//! `vitalsign completions` and `vitalsign man`: what shells and `man` get.

use std::{fs, process::Command};

use crate::env::TestEnv;

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let below = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
    let names = below.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn bash_completes_every_command() {
    let place = TestEnv::empty();
    let script = place.run(["completions", "bash"]);
    assert_eq!(script.code, 0);
    fs::write(place.path("vitalsign.bash"), &script.stdout).unwrap();
    let typed = "source vitalsign.bash; COMP_WORDS=(vitalsign ''); COMP_CWORD=1; \
                 _vitalsign vitalsign '' vitalsign; printf '%s\n' \"${COMPREPLY[@]}\"";
    let answer = Command::new("bash").args(["-c", typed]).current_dir(place.folder()).output().unwrap();
    let answer = String::from_utf8(answer.stdout).unwrap();
    for command in commands(&place.run(["--help"]).stdout) {
        assert!(answer.lines().any(|line| line == command), "{command} is not in {answer}");
    }
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        assert!(place.run(["completions", shell]).stdout.contains("guard"), "{shell}");
    }
    assert_eq!(place.run(["completions", "csh"]).code, 2);
}

#[test]
fn every_command_has_a_manual_page() {
    let place = TestEnv::empty();
    let main = place.run(["man"]);
    assert!(main.stdout.contains(".TH vitalsign 1"), "{}", main.stdout);
    for command in commands(&place.run(["--help"]).stdout) {
        let page = place.run(["man", &command]);
        assert!(page.stdout.contains(&format!(".TH vitalsign-{command} 1")), "{command}: {}", page.stdout);
        assert!(main.stdout.contains(&format!("vitalsign\\-{command}(1)")), "{command} is not in the main page");
        assert!(page.stdout.contains("\\-\\-root"), "{command}: the flags that all commands take");
    }
    assert!(place.run(["man", "config", "check"]).stdout.contains(".TH vitalsign-config-check 1"));
    let wrong = place.run(["man", "bakup"]);
    insta::assert_snapshot!(format!("{}: {}", wrong.code, wrong.stderr), @"
    2: vitalsign: there is no command `bakup`
      → did you mean `backup`?
    ");
}
