//! `backup.include`: what else of the registry goes into its archives; and what of `backup` is about the registry alone.
//!
//! Knows no archive. What may be included at all is decided by `backup`.

use std::path::{Path, absolute};

use super::{discover::within, effective::Resolver, json_cursor::Cursor, raw};
use crate::backup::{self, Include};
use vitalsign_base::files;

impl Resolver<'_> {
    /// The settings of backups, with the paths that are included.
    pub(super) fn backup_of(&mut self, config: &raw::Config, top: &Cursor<'_>, db: &Path) -> backup::Settings {
        let cursor = top.key("backup");
        let settings = self.backup(config.backup.as_ref(), &cursor);
        let at = cursor.key("include");
        let written = config.backup.as_ref().and_then(|backup| backup.include.clone()).unwrap_or_default();
        self.effective_values.note(&at, written.clone());
        let mut include = Vec::new();
        for (index, written) in written.iter().enumerate() {
            let at = at.index(index);
            self.no_nul(&at, written);
            match Include::new(written, &within(self.asked.root, Path::new(written))) {
                Ok(one) => include.push((at, one)),
                Err(why) => self.fault(&at, why),
            }
        }
        let (spots, include): (Vec<_>, Vec<_>) = include.into_iter().unzip();
        // What is included belongs to the registry, and so does its name, and not to another database that the command line names:
        // retention would count the archives of both as those of one.
        let registry = within(self.asked.root, Path::new(config.db_path()));
        let is_registry = self.asked.db.is_none()
            || files::is_same_file(&registry, db)
            || absolute(&registry).ok() == absolute(db).ok();
        for (index, why) in backup::wrongly_included(&include, &registry, &settings.dir, false) {
            if let Some(at) = spots.get(index) {
                self.fault(at, why);
            }
        }
        let identity = settings.identity.filter(|_| is_registry);
        backup::Settings { include: is_registry.then_some(include), identity, ..settings }
    }
}
