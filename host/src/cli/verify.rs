//! `vitalsign verify`: verifies an archive, and says where it is damaged.

use std::env;

use super::{
    Exit, Failure,
    args::{Global, VerifyArgs},
    backup::FAULTS_HINT,
    print, print_json,
    progress::Bar,
    waiting::tell_if_silent,
    within,
};
use crate::{
    backup::{self, Record, Verdict, Verified},
    clock::SystemClock,
    value::{bytes, grouped},
};

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let archive = within(global, &args.archive);
    tell_if_silent(vec![archive.clone()]);
    let found = backup::verify(&archive, args.full, &env::temp_dir(), &SystemClock, &Bar::new())
        .map_err(|failure| Failure::backup(&failure))?;
    if args.format.is_json() {
        let mut value = serde_json::to_value(&found.record).unwrap_or_default();
        value["path"] = archive.display().to_string().into();
        value["sums"] = found.has_sums.into();
        print_json(&value)?;
    } else {
        let word = if found.record.verdict == Verdict::Verified { " is intact" } else { "" };
        print(&format!("{}{word}: {}\n", archive.display(), said(&found)))?;
    }
    match &found.record {
        Record { verdict: Verdict::Flawed, .. } => {
            let what = format!("the database in {} has faults", archive.display());
            Err(Failure::new(Exit::Damaged, what).hint(FAULTS_HINT))
        }
        Record { verdict: Verdict::Incomplete, flaw, .. } => {
            let why = flaw.as_deref().unwrap_or_default();
            let what = format!("{} lacks rows that were committed before the backup: {why}", archive.display());
            Err(Failure::new(Exit::Damaged, what).hint("restore it only where no better archive is left"))
        }
        _ => Ok(Exit::Done),
    }
}

fn said(found: &Verified) -> String {
    let record = &found.record;
    let sums = if found.has_sums { "every checksum matches" } else { "it has no checksums to compare with" };
    let judged = record.judged().said("its database");
    let rows = record.records.map(|count| format!(", {} records", grouped(count))).unwrap_or_default();
    format!("{sums}, and {judged}; {}{rows}", bytes(record.database_bytes))
}
