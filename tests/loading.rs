//! When plugins are loaded and compiled, how often, and what is left of it: through the whole binary.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    env::{GUESTS, RunOutput, TestEnv, entry},
    plugins::{hostile, made_of_text, plugin},
};

/// A run of the binary with a cache folder of its own.
fn run_with_cache(place: &TestEnv, cache: &Path, args: &[&str]) -> RunOutput {
    place.finish(place.command(args).env("VITALSIGN_CACHE_DIR", cache).output().unwrap())
}

/// A check with core functions that nothing calls, whose compiling takes about so long on a machine with nothing else to do.
fn slow_to_compile(seconds: usize) -> Vec<u8> {
    let number = |mut number: usize| {
        let mut bytes = Vec::new();
        while number > 127 {
            bytes.push(number.to_le_bytes()[0] | 128);
            number >>= 7;
        }
        bytes.push(number.to_le_bytes()[0]);
        bytes
    };
    let section = |id: u8, body: Vec<u8>| [vec![id], number(body.len()), body].concat();
    let count = seconds * 900;
    // local.get 0, i32.const 7, i32.add, local.get 0, i32.mul, local.set 0
    let work = [0x20, 0, 0x41, 7, 0x6a, 0x20, 0, 0x6c, 0x21, 0].repeat(200);
    let function = [vec![0], work, vec![0x20, 0, 0x0b]].concat();
    let code = [number(function.len()), function].concat().repeat(count);
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, [number(count), vec![0; count]].concat()),
        section(10, [number(count), code].concat()),
    ];
    [made_of_text("", "", ""), section(1, module.concat())].concat()
}

/// Waits until something is so, for a minute or so; what is asked takes a tenth of a millisecond or more.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!((0..600_000).any(|_| is_so()), "never came to pass: {what}");
}

fn get(address: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap_or_default()
}

/// A process that does not outlive a test that fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `serve` while `during` asks it for paths, ends it with Ctrl-C, and gives its exit code and all that it said.
fn served(place: &TestEnv, cache: &Path, during: impl FnOnce(&dyn Fn(&str) -> Value)) -> (Option<i32>, String) {
    let mut command = place.command(["serve", "--listen", "127.0.0.1:0"]);
    let command = command.env("VITALSIGN_CACHE_DIR", cache).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut server = Killed(command.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap());
    let mut said = String::new();
    let address = loop {
        let before = said.len();
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it says where it listens: {said}");
        if let Some((_, url)) = said[before..].split_once("http://") {
            break url.split('/').next().unwrap().trim().to_owned();
        }
    };
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        lines.read_to_string(&mut rest).map(|_| rest)
    });
    during(&|path| get(&address, path));
    assert!(Command::new("kill").args(["-INT", &server.0.id().to_string()]).status().unwrap().success());
    let code = server.0.wait().unwrap().code();
    (code, said + &rest.join().unwrap().unwrap())
}

fn code(entry: &Value) -> &str {
    entry["findings"][0]["code"].as_str().unwrap_or_default()
}

#[test]
fn a_plugin_that_nobody_asks_for_is_not_touched() {
    let place = TestEnv::with_registry(50);
    let cache = place.path("cache");
    place.configure(|config| {
        config["plugins"] = json!([hostile(json!({ "mode": "ok" })), plugin("missing", "./missing.wasm", json!({}))]);
    });
    let before = place.listing();
    for args in [["check", "--only", "wal"].as_slice(), &["check", "--group", "ready"], &["guard", "--", "true"]] {
        let ran = run_with_cache(&place, &cache, args);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}: {}", ran.stdout);
        assert_eq!(place.listing(), before, "{args:?}: no cache folder was made");
    }
    let ran = run_with_cache(&place, &cache, &["check", "--format", "json"]);
    assert_eq!(entry(&ran.report(), "hostile")["status"], "ok");
    assert!(ran.stderr.contains("the plugins are not pinned"), "{}", ran.stderr);
    assert!(cache.join("key").exists());
}

#[test]
fn a_component_is_compiled_once_for_all_its_plugins() {
    let place = TestEnv::with_registry(50);
    let cache = place.path("cache");
    fs::copy(GUESTS.join("hostile.wasm"), place.path("copy.wasm")).unwrap();
    place.configure(|config| {
        let four = ["a", "b", "c", "d"].map(|name| plugin(name, "hostile.wasm", json!({ "mode": "ok" })));
        let copy = plugin("e", "./copy.wasm", json!({ "mode": "ok" }));
        config["plugins"] = four.into_iter().chain([copy]).collect();
    });
    let compiled = || {
        let ran = run_with_cache(&place, &cache, &["check", "--format", "json", "-vv"]);
        let digest = entry(&ran.report(), "a")["origin"]["digest"].clone();
        for name in ["a", "b", "c", "d", "e"] {
            let entry = entry(&ran.report(), name).clone();
            assert_eq!((&entry["status"], &entry["origin"]["digest"]), (&json!("ok"), &digest), "{entry:#}");
        }
        ran.stderr.matches("compiled the component").count()
    };
    assert_eq!((compiled(), compiled()), (1, 0));
}

/// What `serve` says while a component is compiled, with the state of the plugin at its run.
#[test]
fn serve_compiles_behind_and_says_so() {
    let place = TestEnv::with_registry(50);
    let cache = place.path("cache");
    place.write("slow.wasm", slow_to_compile(3));
    place.configure(|config| {
        let mut slow = plugin("slow", "./slow.wasm", json!({}));
        slow["limits"] = json!({ "timeoutMs": 100 });
        config["plugins"] = json!([slow]);
    });
    let (exit, said) = served(&place, &cache, |ask| {
        let mut seen = Value::Null;
        until("the plugin is being compiled", || {
            seen = ask("/health/slow");
            code(&seen) == "compiling"
        });
        assert_eq!(seen["origin"]["digest"].as_str().map(str::len), Some(64), "{seen:#}");
        let message = seen["findings"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("has been compiling for"), "{message}");
        // Without waiting for its interval, which is minutes.
        until("the plugin has run", || ask("/health/slow")["status"] == "ok");
    });
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.contains("compiling the component of the plugin slow ("), "{said}");
    let ran = run_with_cache(&place, &cache, &["check", "--only", "slow", "-vv"]);
    assert!(ran.code == 0 && !ran.stderr.contains("compiled"), "the result was kept: {}", ran.stderr);
}

/// `check` waits for the compiler, however short the time limit of the run, and says once what takes so long.
#[test]
fn check_waits_for_the_compiler() {
    let place = TestEnv::with_registry(50);
    place.write("slow.wasm", slow_to_compile(3));
    place.configure(|config| {
        let mut slow = plugin("slow", "./slow.wasm", json!({}));
        slow["limits"] = json!({ "timeoutMs": 100 });
        config["plugins"] = json!([slow]);
    });
    let ran = run_with_cache(&place, &place.path("cache"), &["check", "--format", "json"]);
    assert_eq!(entry(&ran.report(), "slow")["status"], "ok", "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stderr.matches("compiling the component of the plugin slow (").count(), 1, "{}", ran.stderr);

    let short = place.path("short");
    place.configure(|config| {
        let mut slow = plugin("slow", "./slow.wasm", json!({}));
        slow["limits"] = json!({ "compileTimeMs": 100 });
        config["plugins"] = json!([slow]);
    });
    let ran = run_with_cache(&place, &short, &["check", "--format", "json"]);
    let finding = entry(&ran.report(), "slow")["findings"][0].clone();
    assert_eq!(finding["code"], "not-compiled");
    insta::assert_snapshot!(format!("{}\n{}", finding["message"].as_str().unwrap(), finding["hint"].as_str().unwrap()), @"
    the component ./slow.wasm was not compiled within its limit of 100 ms
    Raise `plugins[].limits.compileTimeMs` of the plugin slow if you trust the component, or give this process more processor time. It is tried again after 10 minutes and at the next start.
    ");
}

/// The children of a process.
fn children(of: u32) -> Vec<u32> {
    let parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split(' ').nth(2)?.parse::<u32>().ok()
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(pid) == Some(of)).collect()
}

fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn a_compiling_child_ends_with_its_parent() {
    let place = TestEnv::with_registry(50);
    place.write("slow.wasm", slow_to_compile(10));
    place.configure(|config| config["plugins"] = json!([plugin("slow", "./slow.wasm", json!({}))]));
    let mut command = place.command(["check"]);
    command.env("VITALSIGN_CACHE_DIR", place.path("cache")).stdout(Stdio::null()).stderr(Stdio::null());
    let check = Killed(command.spawn().unwrap());
    let mut compiler = None;
    until("a child compiles", || {
        compiler = children(check.0.id()).first().copied();
        compiler.is_some()
    });
    drop(check);
    until("the child has ended", || has_ended(compiler.unwrap()));
    let code =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path().extension().is_some_and(|end| end == "code");
    assert!(!fs::read_dir(place.path("cache")).unwrap().any(code), "it had not finished before");
}

#[test]
fn ctrl_c_while_plugins_run_says_nothing_of_a_bug() {
    let place = TestEnv::with_registry(50);
    place.configure(|config| {
        let hang = |name: &str, mode: Value| {
            let mut one = hostile(mode);
            one["name"] = name.into();
            one["limits"] = json!({ "timeoutMs": 60_000 });
            one
        };
        let sleeping = (0..8).map(|at| hang(&format!("sleeps-{at}"), json!({ "mode": "sleep", "ms": 3_600_000 })));
        let mut plugins: Vec<_> = sleeping.collect();
        plugins.push(hang("spins", json!({ "mode": "spin" })));
        plugins.push(hostile(json!({ "mode": "ok" })));
        config["plugins"] = plugins.into();
    });
    let cache = place.path("cache");
    assert_eq!(run_with_cache(&place, &cache, &["check", "--only", "hostile"]).code, 0);
    let (exit, said) = served(&place, &cache, |ask| {
        let looked = |check: &Value| {
            !check["checked_at"].is_null()
                || check["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with('s') && name != "sqlite" && name != "schema")
        };
        until("every check runs", || ask("/health")["checks"].as_array().unwrap().iter().all(looked));
    });
    assert_eq!(exit, Some(0), "{said}");
    assert!(!said.contains("bug") && !said.contains("panic"), "{said}");
}

#[test]
fn compiled_code_on_disk_may_be_cut_short_while_it_runs() {
    let place = TestEnv::with_registry(50);
    let cache = place.path("cache");
    place.configure(|config| {
        config["health"]["checks"] = json!({ "hostile": { "intervalSeconds": 1 } });
        config["plugins"] = json!([hostile(json!({ "mode": "ok" }))]);
    });
    assert_eq!(run_with_cache(&place, &cache, &["check"]).code, 0);
    let (exit, said) = served(&place, &cache, |ask| {
        let at = |status: &str| {
            let mut seen = Value::Null;
            until("the plugin runs", || {
                seen = ask("/health/hostile");
                seen["status"] == status
            });
            seen["checked_at"].clone()
        };
        let before = at("ok");
        for file in fs::read_dir(&cache).unwrap() {
            File::options().write(true).open(file.unwrap().path()).unwrap().set_len(0).unwrap();
        }
        until("it runs again", || {
            let seen = ask("/health/hostile");
            seen["checked_at"] != before && seen["status"] == "ok"
        });
    });
    assert_eq!(exit, Some(0), "{said}");
}

#[test]
fn a_plugin_that_was_repaired_is_loaded_without_a_restart() {
    let place = TestEnv::with_registry(50);
    place.configure(|config| {
        config["health"]["checks"] = json!({ "p": { "intervalSeconds": 1 } });
        config["plugins"] = json!([plugin("p", "./p.wasm", json!({ "mode": "ok" }))]);
    });
    let (exit, said) = served(&place, &place.path("cache"), |ask| {
        until("it is missing", || code(&ask("/health/p")) == "component-unreadable");
        fs::copy(GUESTS.join("hostile.wasm"), place.path("copy.wasm")).unwrap();
        fs::rename(place.path("copy.wasm"), place.path("p.wasm")).unwrap();
        until("it runs", || ask("/health/p")["status"] == "ok");
    });
    assert_eq!(exit, Some(0), "{said}");
}

/// Closing any descriptor of a database drops every lock that the process holds on it.
#[test]
fn a_component_that_is_the_database_is_not_opened() {
    let place = TestEnv::with_registry(50);
    fs::hard_link(place.path("registry.sqlite"), place.path("linked.wasm")).unwrap();
    std::os::unix::fs::symlink("registry.sqlite", place.path("link.wasm")).unwrap();
    for component in ["./registry.sqlite", "./linked.wasm", "./link.wasm", "./registry.sqlite-wal"] {
        place.configure(|config| config["plugins"] = json!([plugin("p", component, json!({}))]));
        let ran = place.run(["check", "--only", "p", "--format", "json"]);
        assert_eq!(code(entry(&ran.report(), "p")), "component-is-database", "{component}: {}", ran.stdout);
        let locked = place.run(["plugin", "lock"]);
        assert!(locked.code == 6 && locked.stderr.contains("was not opened"), "{component}: {}", locked.stderr);
    }
}

#[test]
fn a_small_address_space_makes_plugins_slower_and_nothing_else() {
    let place = TestEnv::with_registry(50);
    place.configure(|config| {
        let mut grows = plugin("grows", "hostile.wasm", json!({ "mode": "allocate" }));
        grows["limits"] = json!({ "timeoutMs": 20_000 });
        config["plugins"] = json!([hostile(json!({ "mode": "ok" })), grows]);
    });
    let mut limited = Command::new("bash");
    let binary = place.command([""]);
    limited.args(["-c", "ulimit -v 4000000; exec \"$0\" check --format json"]).arg(binary.get_program());
    limited
        .current_dir(place.folder())
        .env_clear()
        .envs(binary.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = place.finish(limited.stdin(Stdio::null()).output().unwrap());
    let report = ran.report();
    assert_eq!(entry(&report, "hostile")["status"], "ok", "{}{report:#}", ran.stderr);
    assert_eq!(code(entry(&report, "grows")), "limit", "its own limit is the smaller one: {report:#}");
}

#[test]
fn a_lock_file_is_not_needed_where_there_are_no_plugins() {
    let place = TestEnv::with_registry(1);
    place.configure(|_| ());
    let before = place.listing();
    let ran = place.run(["plugin", "lock", "--check"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "no plugins are configured, so there is nothing to pin\n"));
    assert_eq!(place.listing(), before);
    place.configure(|config| config["plugins"] = json!([hostile(json!({ "mode": "ok" }))]));
    let ran = place.run(["plugin", "lock", "--check"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"
    1: vitalsign: there is no vitalsign.lock that pins the configured plugins
      → if this is as intended, run `vitalsign plugin lock`
    ");
}
