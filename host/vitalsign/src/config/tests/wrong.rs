//! Every kind of mistake, and what is said about it.

use super::*;

/// What is said about each text, one after the other.
fn said(texts: &[&str]) -> String {
    let mut out = String::new();
    for text in texts {
        let shown: String = text.chars().take(110).flat_map(|ch| ch.escape_debug()).collect();
        let wrong = effective(text, &usual()).map(|_| "accepted".to_owned()).unwrap_or_else(|wrong| wrong.to_string());
        out.push_str(&format!("{}\n{wrong}\n\n", shown.replace("\\\"", "\"")));
    }
    out
}

#[test]
fn what_is_not_json_is_said_in_plain_words() {
    let said = said(&[
        "",
        " \n\t",
        "\u{feff}{}",
        "[]",
        "42",
        "{\"dbPath\": \"a\",}",
        "{\"plugins\": [1,]}",
        "{\n  // where it is\n  \"dbPath\": \"a\"\n}",
        "{\"dbPath\": \"a\" # note\n}",
    ]);
    insta::assert_snapshot!(said, @r#"

c.json:1:1: the file is empty; the smallest configuration is `{}`

 \n\t
c.json:1:1: the file is empty; the smallest configuration is `{}`

\u{feff}{}
c.json:1:1: the file starts with a byte order mark; save it as UTF-8 without one

[]
c.json:1:1: a configuration is an object: it starts with `{` and ends with `}`

42
c.json:1:1: a configuration is an object: it starts with `{` and ends with `}`

{"dbPath": "a",}
c.json:1:16: no value follows the comma before this; remove the comma

{"plugins": [1,]}
c.json:1:16: no value follows the comma before this; remove the comma

{\n  // where it is\n  "dbPath": "a"\n}
c.json:2:3: JSON has no comments; remove this one

{"dbPath": "a" # note\n}
c.json:1:16: JSON has no comments; remove this one
"#);
}

#[test]
fn what_is_written_like_another_language_is_said_in_plain_words() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let said = said(&[
        "{'dbPath': \"a\"}",
        "{dbPath: \"a\"}",
        "{\"dbPath\": 'a'}",
        "{\"dbPath\": a}",
        "{\"dbPath\" \"a\"}",
        "{\"dbPath\": \"a\" \"server\": {}}",
        "{\"dbPath\": \"a\"",
        "{\"dbPath\": \"a",
        "{\"dbPath\": \"a\nb\"}",
        "{\"dbPath\": \"\\q\"}",
        "{\"dbPath\": \"äöü\", oops}",
        "{} {}",
        "{\"health\": {\"minFreeBytes\": 01}}",
        "{\"health\": {\"minFreeBytes\": 1e999}}",
        deep.as_str(),
    ]);
    insta::assert_snapshot!(said, @r#"
{\'dbPath\': "a"}
c.json:1:2: text and keys need double quotes, not single quotes

{dbPath: "a"}
c.json:1:2: a key in double quotes is expected

{"dbPath": \'a\'}
c.json:1:12: text and keys need double quotes, not single quotes

{"dbPath": a}
c.json:1:12: a value is expected: text in double quotes, a number, `true`, `false`, `{…}` or `[…]`

{"dbPath" "a"}
c.json:1:11: a colon is missing between key and value

{"dbPath": "a" "server": {}}
c.json:1:16: a comma is missing before this

{"dbPath": "a"
c.json:1:14: the file ends too early: a brace, bracket or quote is not closed

{"dbPath": "a
c.json:1:13: the file ends too early: a brace, bracket or quote is not closed

{"dbPath": "a\nb"}
c.json:1:14: text contains a line break or control character; write it as `\n` or `\u00XX`

{"dbPath": "\\q"}
c.json:1:14: this backslash does not begin an escape sequence; write `\\` for a backslash

{"dbPath": "äöü", oops}
c.json:1:19: a key in double quotes is expected

{} {}
c.json:1:4: the configuration ends before this; remove the rest

{"health": {"minFreeBytes": 01}}
c.json:1:30: this is not a JSON number; write no leading zero, plus sign or bare dot

{"health": {"minFreeBytes": 1e999}}
c.json:1:33: this number is too large for any key

[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
c.json:1:128: nested too deeply
"#);
}

#[test]
fn a_wrong_key_is_said_with_its_place() {
    let said = said(&[
        r#"{"dbpath": "a"}"#,
        r#"{"zebra": 1}"#,
        r#"{"health": {"minFreBytes": 1}}"#,
        r#"{"health": {"checks": {"disk": {"intervalSecond": 1}}}}"#,
        r#"{"health": {"checks": {"disk": {"config": {"warnRatios": 1}}}}}"#,
        r#"{"dbPath": "a", "dbPath": "b"}"#,
        r#"{"health": {"checks": {"disk": {}, "disk": {}}}}"#,
        r#"{"plugins": [{"name": "a"}]}"#,
        r#"{"a b.c\u001b": 1}"#,
    ]);
    insta::assert_snapshot!(said, @r#"
{"dbpath": "a"}
c.json:1:2: dbpath: unknown key; did you mean `dbPath`?

{"zebra": 1}
c.json:1:2: zebra: unknown key; the keys here are `$schema`, `dbPath`, `registry`, `health`, `plugins`, `backup`, `server`, `guard`

{"health": {"minFreBytes": 1}}
c.json:1:13: health.minFreBytes: unknown key; did you mean `minFreeBytes`?

{"health": {"checks": {"disk": {"intervalSecond": 1}}}}
c.json:1:33: health.checks.disk.intervalSecond: unknown key; did you mean `intervalSeconds`?

{"health": {"checks": {"disk": {"config": {"warnRatios": 1}}}}}
c.json:1:44: health.checks.disk.config.warnRatios: unknown key; did you mean `warnRatio`?

{"dbPath": "a", "dbPath": "b"}
c.json:1:17: dbPath: this key is written twice; the first one is on line 1

{"health": {"checks": {"disk": {}, "disk": {}}}}
c.json:1:36: health.checks.disk: this key is written twice; the first one is on line 1

{"plugins": [{"name": "a"}]}
c.json:1:14: plugins[0]: the key `component` is missing

{"a b.c\\u001b": 1}
c.json:1:2: ["a b.c\u{1b}"]: unknown key; the keys here are `$schema`, `dbPath`, `registry`, `health`, `plugins`, `backup`, `server`, `guard`
"#);
}

#[test]
fn a_value_of_the_wrong_type_is_said_with_its_place() {
    let said = said(&[
        r#"{"dbPath": 1}"#,
        r#"{"dbPath": null}"#,
        r#"{"health": []}"#,
        r#"{"plugins": {}}"#,
        r#"{"plugins": ["a.wasm"]}"#,
        r#"{"health": {"minFreeBytes": "256"}}"#,
        r#"{"health": {"minFreeBytes": "256 monkeys"}}"#,
        r#"{"health": {"minFreeBytes": "26h"}}"#,
        r#"{"backup": {"maxAgeSeconds": "26"}}"#,
        r#"{"backup": {"maxAgeSeconds": "1500ms"}}"#,
        r#"{"backup": {"maxAgeSeconds": "2 months"}}"#,
        r#"{"health": {"minFreeBytes": 1.5}}"#,
        r#"{"health": {"minFreeBytes": true}}"#,
        r#"{"health": {"checks": {"disk": {"critical": "yes"}}}}"#,
        r#"{"health": {"checks": {"disk": {"groups": [1]}}}}"#,
        r#"{"backup": {"compression": 5}}"#,
    ]);
    insta::assert_snapshot!(said, @r#"
{"dbPath": 1}
c.json:1:12: dbPath: text in double quotes is expected, not a number

{"dbPath": null}
c.json:1:12: dbPath: text in double quotes is expected, not `null`; leave the key out to keep its default

{"health": []}
c.json:1:12: health: an object `{…}` is expected, not a list

{"plugins": {}}
c.json:1:13: plugins: a list `[…]` is expected, not an object

{"plugins": ["a.wasm"]}
c.json:1:14: plugins[0]: an object `{…}` is expected, not text

{"health": {"minFreeBytes": "256"}}
c.json:1:29: health.minFreeBytes: `256` has no unit; write the number without quotes for bytes, or add a unit, as in "256MiB"

{"health": {"minFreeBytes": "256 monkeys"}}
c.json:1:29: health.minFreeBytes: `256 monkeys` is not a size; write a number and a unit, as in "256MiB"; the units are `B`, `kB`, `MB`, `GB`, `TB`, `PB` (powers of 1000) and `KiB`, `MiB`, `GiB`, `TiB`, `PiB` (powers of 1024)

{"health": {"minFreeBytes": "26h"}}
c.json:1:29: health.minFreeBytes: `26h` is not a size; write a number and a unit, as in "256MiB"; the units are `B`, `kB`, `MB`, `GB`, `TB`, `PB` (powers of 1000) and `KiB`, `MiB`, `GiB`, `TiB`, `PiB` (powers of 1024)

{"backup": {"maxAgeSeconds": "26"}}
c.json:1:30: backup.maxAgeSeconds: `26` has no unit; write the number without quotes for seconds, or add a unit, as in "26h"

{"backup": {"maxAgeSeconds": "1500ms"}}
c.json:1:30: backup.maxAgeSeconds: `1500ms` is not a whole number of seconds

{"backup": {"maxAgeSeconds": "2 months"}}
c.json:1:30: backup.maxAgeSeconds: `2 months` is not a length of time; write a number and a unit, as in "26h" or "1h 30min"; the units are `ms`, `s`, `min` (or `m`), `h`, `d` and `w`

{"health": {"minFreeBytes": 1.5}}
c.json:1:29: health.minFreeBytes: a whole number, or text with a unit, is expected, not a number with a fraction or exponent

{"health": {"minFreeBytes": true}}
c.json:1:29: health.minFreeBytes: a whole number, or text with a unit, is expected, not `true` or `false`

{"health": {"checks": {"disk": {"critical": "yes"}}}}
c.json:1:45: health.checks.disk.critical: `true` or `false` is expected, not text

{"health": {"checks": {"disk": {"groups": [1]}}}}
c.json:1:44: health.checks.disk.groups[0]: text in double quotes is expected, not a number

{"backup": {"compression": 5}}
c.json:1:28: backup.compression: text in double quotes is expected, not a number
"#);
}

#[test]
fn a_value_out_of_range_is_said_with_its_place() {
    let said = said(&[
        r#"{"dbPath": ""}"#,
        r#"{"health": {"minFreeBytes": -1}}"#,
        r#"{"health": {"minFreeBytes": 99999999999999999999999}}"#,
        r#"{"registry": {"expectedSchemaVersion": 2147483648}}"#,
        r#"{"health": {"checks": {"disk": {"intervalSeconds": 0, "timeoutMs": 0, "failureThreshold": 0}}}}"#,
        r#"{"health": {"checks": {"disk": {"config": {"warnRatio": 0.25}}}}}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm", "limits": {"memoryBytes": 1, "sqlTimeMs": 60001}}]}"#,
        r#"{"health": {"minFreeBytes": "2PiB", "checks": {"disk": {"intervalSeconds": "60d", "timeoutMs": "0s"}}}}"#,
        r#"{"backup": {"compression": "gz", "maxAgeSeconds": 0, "keep": {"last": -1}}}"#,
        r#"{"server": {"details": "sometimes"}}"#,
    ]);
    insta::assert_snapshot!(said, @r#"
{"dbPath": ""}
c.json:1:12: dbPath: this text must not be empty

{"health": {"minFreeBytes": -1}}
c.json:1:29: health.minFreeBytes: -1 is out of range; 0 to 1125899906842624 is allowed

{"health": {"minFreeBytes": 99999999999999999999999}}
c.json:1:29: health.minFreeBytes: 1e+23 is out of range; 0 to 1125899906842624 is allowed

{"registry": {"expectedSchemaVersion": 2147483648}}
c.json:1:40: registry.expectedSchemaVersion: 2147483648 is out of range; -2147483648 to 2147483647 is allowed

{"health": {"checks": {"disk": {"intervalSeconds": 0, "timeoutMs": 0, "failureThreshold": 0}}}}
c.json:1:52: health.checks.disk.intervalSeconds: 0 is out of range; 1 to 2678400 is allowed
c.json:1:68: health.checks.disk.timeoutMs: 0 is out of range; 1 to 3600000 is allowed
c.json:1:91: health.checks.disk.failureThreshold: 0 is out of range; 1 to 1000 is allowed

{"health": {"checks": {"disk": {"config": {"warnRatio": 0.25}}}}}
c.json:1:57: health.checks.disk.config.warnRatio: 0.25 is out of range; 0.5 to 2.5 is allowed

{"plugins": [{"name": "a", "component": "a.wasm", "limits": {"memoryBytes": 1, "sqlTimeMs": 60001}}]}
c.json:1:77: plugins[0].limits.memoryBytes: 1 is out of range; 65536 to 1073741824 is allowed
c.json:1:93: plugins[0].limits.sqlTimeMs: 60001 is out of range; 1 to 60000 is allowed

{"health": {"minFreeBytes": "2PiB", "checks": {"disk": {"intervalSeconds": "60d", "timeoutMs": "0s"}}}}
c.json:1:29: health.minFreeBytes: `2PiB` is 2251799813685248 bytes, which is out of range; 0 to 1125899906842624 is allowed
c.json:1:76: health.checks.disk.intervalSeconds: `60d` is 5184000 seconds, which is out of range; 1 to 2678400 is allowed
c.json:1:96: health.checks.disk.timeoutMs: `0s` is 0 milliseconds, which is out of range; 1 to 3600000 is allowed

{"backup": {"compression": "gz", "maxAgeSeconds": 0, "keep": {"last": -1}}}
c.json:1:28: backup.compression: `gz` is not one of `gzip`, `zstd`, `none`; did you mean `gzip`?
c.json:1:51: backup.maxAgeSeconds: 0 is out of range; 1 to 316224000 is allowed
c.json:1:71: backup.keep.last: -1 is out of range; 0 to 10000 is allowed

{"server": {"details": "sometimes"}}
c.json:1:24: server.details: `sometimes` is not one of `always`, `never`, `token`
"#);
}

#[test]
fn what_a_schema_cannot_judge_is_said_too() {
    let said = said(&[
        r#"{"health": {"checks": {"dsk": {}}}}"#,
        r#"{"health": {"checks": {"zebra": {}}}}"#,
        r#"{"health": {"checks": {"disk": {"groups": ["ready", "Not A Group"]}}}}"#,
        r#"{"health": {"checks": {"disk": {"groups": ["redy", "readyz", "READY", "nightly", "eu-west", "reports"]}}}}"#,
        r#"{"health": {"checks": {"disk": {"config": {"peer": "nowhere"}}}}}"#,
        r#"{"plugins": [{"name": "My Plugin", "component": "a.wasm"}]}"#,
        r#"{"plugins": [{"name": "disk", "component": "a.wasm"}]}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm"}, {"name": "a", "component": "b.wasm"}]}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm", "grants": {"http": ["https://example.org"], "state": true}}]}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm", "grants": {"files": ["/"], "secrets": ["k"]}}]}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm"}], "health": {"checks": {"a": {"timeoutMs": 5, "config": {}}}}}"#,
        r#"{"dbPath": "a\u0000b", "registry": {"recordsTable": "r\u0000"}}"#,
        r#"{"server": {"listen": "localhost"}}"#,
        r#"{"server": {"details": "token"}}"#,
        r#"{"server": {"details": "token", "tokenFile": "t", "tokenEnv": "T"}}"#,
        r#"{"server": {"tokenFile": "t"}}"#,
        r#"{"server": {"details": "never", "tokenEnv": "T"}}"#,
        r#"{"server": {"details": "token", "tokenEnv": "T=secret"}}"#,
        r#"{"backup": {"keep": {}}}"#,
    ]);
    insta::assert_snapshot!(said, @r#"
{"health": {"checks": {"dsk": {}}}}
c.json:1:24: health.checks.dsk: no check has this name; did you mean `disk`?

{"health": {"checks": {"zebra": {}}}}
c.json:1:24: health.checks.zebra: no check has this name; it is neither built in nor in `health.sql` or `plugins`

{"health": {"checks": {"disk": {"groups": ["ready", "Not A Group"]}}}}
c.json:1:53: health.checks.disk.groups[1]: a group is 1 to 63 lower-case letters, digits and inner hyphens

{"health": {"checks": {"disk": {"groups": ["redy", "readyz", "READY", "nightly", "eu-west", "reports"]}}}}
c.json:1:44: health.checks.disk.groups[0]: `redy` is nearly `ready`, the group that `/readyz` looks at, and would leave this check out of it; write `ready`, or choose a name that cannot be taken for it
c.json:1:52: health.checks.disk.groups[1]: `readyz` is nearly `ready`, the group that `/readyz` looks at, and would leave this check out of it; write `ready`, or choose a name that cannot be taken for it
c.json:1:62: health.checks.disk.groups[2]: `READY` is nearly `ready`, the group that `/readyz` looks at, and would leave this check out of it; write `ready`, or choose a name that cannot be taken for it

{"health": {"checks": {"disk": {"config": {"peer": "nowhere"}}}}}
c.json:1:52: health.checks.disk.config.peer: invalid IP address syntax

{"plugins": [{"name": "My Plugin", "component": "a.wasm"}]}
c.json:1:23: plugins[0].name: `My Plugin` is not a check name: use 1 to 63 lower-case letters, digits and inner hyphens

{"plugins": [{"name": "disk", "component": "a.wasm"}]}
c.json:1:23: plugins[0].name: the name `disk` is used by a built-in check already; choose another one

{"plugins": [{"name": "a", "component": "a.wasm"}, {"name": "a", "component": "b.wasm"}]}
c.json:1:61: plugins[1].name: the name `a` is used by plugins[0] already; choose another one

{"plugins": [{"name": "a", "component": "a.wasm", "grants": {"http": ["https://example.org"], "state": true}}]
c.json:1:70: plugins[0].grants.http: this version offers only the `registry` grant; remove this one
c.json:1:104: plugins[0].grants.state: this version offers only the `registry` grant; remove this one

{"plugins": [{"name": "a", "component": "a.wasm", "grants": {"files": ["/"], "secrets": ["k"]}}]}
c.json:1:71: plugins[0].grants.files: this version offers only the `registry` grant; remove this one
c.json:1:89: plugins[0].grants.secrets: this version offers only the `registry` grant; remove this one

{"plugins": [{"name": "a", "component": "a.wasm"}], "health": {"checks": {"a": {"timeoutMs": 5, "config": {}}}
c.json:1:94: health.checks.a.timeoutMs: `a` is a plugin; set this with `plugins[0].limits.timeoutMs`
c.json:1:107: health.checks.a.config: `a` is a plugin; set this with `plugins[0].config`

{"dbPath": "a\\u0000b", "registry": {"recordsTable": "r\\u0000"}}
c.json:1:12: dbPath: it contains a NUL character, which no path or name may contain
c.json:1:53: registry.recordsTable: it contains a NUL character, which no path or name may contain

{"server": {"listen": "localhost"}}
c.json:1:23: server.listen: `localhost` is not an address to listen on; write a host and a port such as `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`, or `:8080` for every address of this machine

{"server": {"details": "token"}}
c.json:1:24: server.details: `token` needs a token; add `tokenFile` or `tokenEnv`

{"server": {"details": "token", "tokenFile": "t", "tokenEnv": "T"}}
c.json:1:63: server.tokenEnv: `tokenFile` is set as well; keep one of the two

{"server": {"tokenFile": "t"}}
c.json:1:26: server.tokenFile: a token has no effect with `"details": "always"`; set `details` to `token`, or remove this key

{"server": {"details": "never", "tokenEnv": "T"}}
c.json:1:45: server.tokenEnv: a token has no effect with `"details": "never"`; set `details` to `token`, or remove this key

{"server": {"details": "token", "tokenEnv": "T=secret"}}
c.json:1:45: server.tokenEnv: this is not the name of an environment variable; write the name of the variable that holds the token, not the token itself

{"backup": {"keep": {}}}
c.json:1:21: backup.keep: this would keep no archive at all; set `last` to 1 or more, or leave `keep` out to keep all
"#);
}

#[test]
fn a_mistake_is_shown_in_its_line() {
    let text = "{\n\t\"dbPath\": \"ä\", \"helth\": {}\n}";
    insta::assert_snapshot!(effective(text, &usual()).unwrap_err().render(), @r#"
c.json:2:17: helth: unknown key; did you mean `health`?
  2 |  "dbPath": "ä", "helth": {}
    |                 ^
"#);
    let long =
        format!("{{\"dbPath\": \"{}\", \"helth\": {{}}, \"$schema\": \"{}\"}}", "x".repeat(400), "y".repeat(400));
    insta::assert_snapshot!(effective(&long, &usual()).unwrap_err().render(), @r#"
c.json:1:416: helth: unknown key; did you mean `health`?
  1 | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "helth": {}, "$schema": "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
    |                                                             ^
"#);
}

#[test]
fn mistakes_come_in_the_order_of_the_file_and_not_by_the_thousand() {
    let keys: Vec<String> = (0..1000).map(|n| format!("\"key{n}\": {n}")).collect();
    let wrong = effective(&format!("{{{}}}", keys.join(",\n")), &usual()).unwrap_err();
    assert_eq!(wrong.told().len(), 20);
    assert_eq!(wrong.told()[0].place.as_ref().unwrap().at, Position { line: 1, column: 2 });
    assert!(wrong.to_string().ends_with("\nand 980 more"));
}
