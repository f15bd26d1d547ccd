//! What the text form looks like, for every sample and at every width.

use super::{super::samples, *};

fn plain(report: &Report) -> String {
    render(report, &TextStyle::default())
}

fn at(width: usize, report: &Report) -> String {
    render(report, &TextStyle { width, colour: false })
}

#[test]
fn healthy() {
    insta::assert_snapshot!(plain(&samples::healthy()), @"
    OK       2 checks passed; 1 was skipped: schema
             /srv/registry/registry.sqlite on db-1

    ok       disk    12.3 GiB free, 256.0 MiB wanted
    ok       wal     journal mode is WAL
    skipped  schema  user_version is 3; nothing to compare it with
             no expected schema version is configured
             → Set registry.expectedSchemaVersion, or run `vitalsign init`.

    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn mixed_with_the_worst_first() {
    insta::assert_snapshot!(plain(&samples::mixed()), @"
    ERROR    2 of 5 checks failed: disk, provenance-chain; 1 gave no result: growth; 1 has a warning:
             wal
             /srv/registry/registry.sqlite on db-1

    error    disk              100.0 MiB free
             /srv/registry: only 100.0 MiB are free on the database's file system, 256.0 MiB are wanted
             → Free space there, or lower health.minFreeBytes.
    error    provenance-chain  1 of 900,000 records is broken
             record 17: the chain of digests is broken
    unknown  growth            gave no answer within 2 s (timeoutMs)
             → Find out what it waits for, or raise its timeoutMs.
    warn     wal               the WAL is big
             registry.sqlite-wal: 12 pages are not yet checkpointed
             wal_pages: at most 12 pages (a warning from 10 pages, an error from 1,000 pages)
             oldest_reader: 1 min 8 s (a warning from 1 min)
             rows: about 1,234,568 rows (an error from 1,000,000,000 rows)
    ok       schema            user_version is 3, as expected

    plugin growth: plugins/growth.wasm, sha256 19c64195eb8f…
    plugin provenance-chain: plugins/provenance_chain.wasm, could not be read
    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn one_missing_database_is_told_once() {
    insta::assert_snapshot!(plain(&samples::missing()), @"
    ERROR    4 of 5 checks gave no result: foreign-keys, records, schema, wal
             /srv/registry/registry.sqlite on db-1

    unknown  foreign-keys, records, schema, wal
             there is no database at /srv/registry/registry.sqlite
             → Give the right path with --db or dbPath.
    ok       disk          12.3 GiB free

    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn one_cause_and_one_advice_are_told_once() {
    let text = plain(&samples::alike());
    assert_eq!(text.matches("vitalsign backup").count(), 1);
    insta::assert_snapshot!(text, @"
    ERROR    2 of 6 checks failed: chain, orphans; 3 gave no result: records, schema, wal; 1 has a
             warning: growth
             /srv/registry/registry.sqlite on db-1

    error    chain    3 of 9 records are broken
             row 1
             row 5
             row 9
             → Run `vitalsign backup`.
    error    orphans  the statement gives 4
             the statement gives 4; from 1 it is an error
             → the same as for chain
    unknown  records  `/srv/registry/registry.sqlite` is locked by another process
             → Find the process that holds the lock.
    unknown  schema, wal
             could not be checked, because it depends on the database: see the check `records`
    error    growth   the table shrank
             advisory: counts as a warning at most

    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn hysteresis_and_staleness_are_explained() {
    insta::assert_snapshot!(plain(&samples::held()), @"
    ERROR    1 of 3 checks failed: disk; 1 gave no result: schema
             /srv/registry/registry.sqlite on db-1

    error    disk    12.3 GiB free
             still counts as error: 1 of 3 better results in a row
    unknown  schema  no fresh result
             the last result is 13 h old; it said ok: fine
    ok       wal     the WAL is big
             still counts as ok: 1 of 2 worse results in a row
             warn: 1 page is not yet checkpointed

    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn long_text_is_wrapped_and_long_words_stay_whole() {
    insta::assert_snapshot!(at(72, &samples::long()), @"
    ERROR    wal failed
             /srv/registry/registry.sqlite on db-1

    error    wal  a sentence that goes on and on, past the edge of every
                  terminal that anybody has ever had, and names
                  /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
                  on its way
             x
             → a sentence that goes on and on, past the edge of every
               terminal that anybody has ever had, and names
               /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
               on its way

    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn at_60_and_80_columns_names_and_texts_stand_beside_each_other() {
    insta::assert_snapshot!(at(80, &samples::mixed()), @"
    ERROR    2 of 5 checks failed: disk, provenance-chain; 1 gave no result: growth;
             1 has a warning: wal
             /srv/registry/registry.sqlite on db-1

    error    disk              100.0 MiB free
             /srv/registry: only 100.0 MiB are free on the database's file system,
             256.0 MiB are wanted
             → Free space there, or lower health.minFreeBytes.
    error    provenance-chain  1 of 900,000 records is broken
             record 17: the chain of digests is broken
    unknown  growth            gave no answer within 2 s (timeoutMs)
             → Find out what it waits for, or raise its timeoutMs.
    warn     wal               the WAL is big
             registry.sqlite-wal: 12 pages are not yet checkpointed
             wal_pages: at most 12 pages (a warning from 10 pages, an error from
             1,000 pages)
             oldest_reader: 1 min 8 s (a warning from 1 min)
             rows: about 1,234,568 rows (an error from 1,000,000,000 rows)
    ok       schema            user_version is 3, as expected

    plugin growth: plugins/growth.wasm, sha256 19c64195eb8f…
    plugin provenance-chain: plugins/provenance_chain.wasm, could not be read
    checked at 2025-10-27T16:43:49Z
    ");
    insta::assert_snapshot!(at(60, &samples::mixed()), @"
    ERROR    2 of 5 checks failed: disk, provenance-chain; 1
             gave no result: growth; 1 has a warning: wal
             /srv/registry/registry.sqlite on db-1

    error    disk              100.0 MiB free
             /srv/registry: only 100.0 MiB are free on the
             database's file system, 256.0 MiB are wanted
             → Free space there, or lower health.minFreeBytes.
    error    provenance-chain  1 of 900,000 records is broken
             record 17: the chain of digests is broken
    unknown  growth            gave no answer within 2 s
                               (timeoutMs)
             → Find out what it waits for, or raise its
               timeoutMs.
    warn     wal               the WAL is big
             registry.sqlite-wal: 12 pages are not yet
             checkpointed
             wal_pages: at most 12 pages (a warning from 10
             pages, an error from 1,000 pages)
             oldest_reader: 1 min 8 s (a warning from 1 min)
             rows: about 1,234,568 rows (an error from
             1,000,000,000 rows)
    ok       schema            user_version is 3, as expected

    plugin growth: plugins/growth.wasm, sha256 19c64195eb8f…
    plugin provenance-chain: plugins/provenance_chain.wasm,
    could not be read
    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn at_40_columns_texts_stand_below_names() {
    insta::assert_snapshot!(at(40, &samples::mixed()), @"
    ERROR    2 of 5 checks failed: disk,
             provenance-chain; 1 gave no
             result: growth; 1 has a
             warning: wal
             /srv/registry/registry.sqlite
             on db-1

    error  disk
             100.0 MiB free
             /srv/registry: only 100.0 MiB
             are free on the database's file
             system, 256.0 MiB are wanted
             → Free space there, or lower
               health.minFreeBytes.
    error  provenance-chain
             1 of 900,000 records is broken
             record 17: the chain of digests
             is broken
    unknown  growth
             gave no answer within 2 s
             (timeoutMs)
             → Find out what it waits for,
               or raise its timeoutMs.
    warn  wal
             the WAL is big
             registry.sqlite-wal: 12 pages
             are not yet checkpointed
             wal_pages: at most 12 pages (a
             warning from 10 pages, an error
             from 1,000 pages)
             oldest_reader: 1 min 8 s (a
             warning from 1 min)
             rows: about 1,234,568 rows (an
             error from 1,000,000,000 rows)
    ok  schema
             user_version is 3, as expected

    plugin growth: plugins/growth.wasm,
    sha256 19c64195eb8f…
    plugin provenance-chain:
    plugins/provenance_chain.wasm, could not
    be read
    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn at_20_columns_texts_have_nearly_the_whole_width() {
    insta::assert_snapshot!(at(20, &samples::mixed()), @"
    ERROR
      2 of 5 checks
      failed: disk,
      provenance-chain;
      1 gave no result:
      growth; 1 has a
      warning: wal
      /srv/registry/registry.sqlite
      on db-1

    error  disk
      100.0 MiB free
      /srv/registry:
      only 100.0 MiB are
      free on the
      database's file
      system, 256.0 MiB
      are wanted
      → Free space
        there, or lower
        health.minFreeBytes.
    error
    provenance-chain
      1 of 900,000
      records is broken
      record 17: the
      chain of digests
      is broken
    unknown  growth
      gave no answer
      within 2 s
      (timeoutMs)
      → Find out what it
        waits for, or
        raise its
        timeoutMs.
    warn  wal
      the WAL is big
      registry.sqlite-wal:
      12 pages are not
      yet checkpointed
      wal_pages: at most
      12 pages (a
      warning from 10
      pages, an error
      from 1,000 pages)
      oldest_reader: 1
      min 8 s (a warning
      from 1 min)
      rows: about
      1,234,568 rows (an
      error from
      1,000,000,000
      rows)
    ok  schema
      user_version is 3,
      as expected

    plugin growth:
    plugins/growth.wasm,
    sha256 19c64195eb8f…
    plugin
    provenance-chain:
    plugins/provenance_chain.wasm,
    could not be read
    checked at
    2025-10-27T16:43:49Z
    ");
}

#[test]
fn at_20_columns_a_long_path_stays_whole() {
    insta::assert_snapshot!(at(20, &samples::long()), @"
    ERROR
      wal failed
      /srv/registry/registry.sqlite
      on db-1

    error  wal
      a sentence that
      goes on and on,
      past the edge of
      every terminal
      that anybody has
      ever had, and
      names
      /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
      on its way
      x
      → a sentence that
        goes on and on,
        past the edge of
        every terminal
        that anybody has
        ever had, and
        names
        /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
        on its way

    checked at
    2025-10-27T16:43:49Z
    ");
}

#[test]
fn only_a_word_that_is_too_long_passes_the_edge() {
    for report in [samples::healthy(), samples::mixed(), samples::missing(), samples::held(), samples::alike()] {
        for width in [20, 30, 38, 39, 40, 60, 80] {
            for line in at(width, &report).lines().filter(|line| line.chars().count() > width) {
                let longest = line.split_whitespace().map(|word| word.chars().count()).max().unwrap();
                assert!(longest > width - INDENT.len() - 2 || line.split_whitespace().count() == 1, "{width}: {line}");
            }
        }
    }
}

#[test]
fn the_verdict_names_what_is_bad() {
    let entry = |name: &str, status, weight| {
        let mut entry = samples::entry(name, status, "s", Vec::new());
        entry.weight = weight;
        entry
    };
    let of = |entries: &[(&str, Status, Weight)]| {
        let entries = entries.iter().map(|(name, status, weight)| entry(name, *status, *weight)).collect();
        let text = plain(&samples::report(entries));
        text.lines().next().unwrap_or_default().to_owned()
    };
    use Status::{Error, Ok, Skipped, Unknown, Warn};
    use Weight::{Advisory, Critical, Ordinary};
    assert_eq!(of(&[("a", Ok, Critical)]), "OK       1 check passed");
    assert_eq!(of(&[("a", Skipped, Critical)]), "OK       1 check was skipped: a");
    let some = of(&[("a", Skipped, Critical), ("b", Ok, Ordinary), ("c", Skipped, Ordinary)]);
    assert_eq!(some, "OK       1 check passed; 2 were skipped: a, c");
    assert_eq!(of(&[("a", Error, Ordinary)]), "ERROR    a failed");
    assert_eq!(of(&[("a", Unknown, Critical)]), "ERROR    a gave no result");
    assert_eq!(of(&[("a", Unknown, Ordinary), ("b", Ok, Ordinary)]), "WARN     1 of 2 checks gave no result: a");
    assert_eq!(of(&[("a", Error, Advisory), ("b", Warn, Ordinary)]), "WARN     2 of 2 checks have a warning: a, b");
    let all = of(&[("a", Error, Ordinary), ("b", Warn, Ordinary), ("c", Unknown, Critical)]);
    assert_eq!(all, "ERROR    1 of 3 checks failed: a; 1 gave no result: c; 1 has a warning: b");
    let many: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, Warn, Ordinary)).to_vec();
    assert_eq!(of(&many), "WARN     7 of 7 checks have a warning: a, b, c, d, e and 2 more");
}

#[test]
fn nothing_was_run() {
    insta::assert_snapshot!(plain(&samples::report(Vec::new())), @"
    ERROR    no check was run
             /srv/registry/registry.sqlite on db-1


    checked at 2025-10-27T16:43:49Z
    ");
}

#[test]
fn colour_adds_nothing_but_colour() {
    for report in [samples::healthy(), samples::mixed(), samples::missing(), samples::held(), samples::long()] {
        for width in [1, 20, 40, 72, 200] {
            let coloured = render(&report, &TextStyle { width, colour: true });
            assert!(coloured.contains("\x1b["));
            assert_eq!(
                anstream::adapter::strip_str(&coloured).to_string(),
                render(&report, &TextStyle { width, colour: false })
            );
        }
    }
    let coloured = render(&samples::report(Vec::new()), &TextStyle { width: 80, colour: true });
    insta::assert_snapshot!(coloured.escape_debug(), @r"\u{1b}[1m\u{1b}[31mERROR\u{1b}[0m    \u{1b}[1mno check was run\u{1b}[0m\n         \u{1b}[2m/srv/registry/registry.sqlite on db-1\u{1b}[0m\n\n\n\u{1b}[2mchecked at 2025-10-27T16:43:49Z\u{1b}[0m\n");
}

#[test]
fn hostile_text_cannot_write_to_the_terminal() {
    let text = plain(&samples::hostile());
    assert!(!text.chars().any(|ch| ch.is_control() && ch != '\n' || ch == '\u{202e}'), "{text:?}");
    assert_eq!(text.matches("plugin evil").count(), 1);
}

#[test]
fn many_findings_are_cut_and_counted() {
    let findings = (0..1500).map(|at| Finding::new(Status::Warn, "x", format!("row {at}"))).collect();
    let text = plain(&samples::report(vec![samples::entry("rows", Status::Warn, "many", findings)]));
    assert!(text.contains("row 9\n") && !text.contains("row 10\n"));
    assert!(text.contains("and 1,490 more; `--format json` shows them all"));
}

#[test]
fn numbers_read_well() {
    for (number, unit, expected) in [
        (1_048_576.0, "bytes", "1.0 MiB"),
        (0.5, "bytes", "1 B"),
        (-1.0, "rows", "-1 rows"),
        (1e300, "", "1e300"),
        (2.0, "ms", "2 ms"),
        (0.123_456, "ms", "0.1235 ms"),
        (93_600_000.0, "ms", "1 d 2 h"),
        (68.358_184_156, "seconds", "1 min 8 s"),
        (0.25, "s", "250 ms"),
        (-5.5, "seconds", "-5.5 seconds"),
        (f64::INFINITY, "seconds", "inf seconds"),
        (12_345.678, "rows", "12,346 rows"),
        (12.345_678, "percent", "12.35 percent"),
        (0.000_000_01, "", "0"),
        (f64::NAN, "x", "NaN x"),
    ] {
        assert_eq!(amount(number, unit), expected, "{number} {unit}");
    }
}
