//! What `config check` says before a roll-out of what would not work after it: plugins held against the configuration once they
//! were asked what they need, and what is included in backups held against what is there.
//!
//! Knows no plugin; it is told what became of each.

use super::{
    EffectiveConfig, Error,
    json_cursor::{Cursor, JsonKind, JsonNode},
    mistake::Mistakes,
    position::Position,
    schema_check,
};
use crate::backup::wrongly_included;

/// Refuses what would keep the plugins or a backup from running: `asked` holds for each, in the order of the configuration, the JSON
/// Schema of its configuration, or a sentence that says why it cannot be loaded.
///
/// # Errors
/// [`Error::Wrong`] with everything that is wrong, each with its place in the file.
pub fn review(effective: &EffectiveConfig, asked: &[Result<String, String>]) -> Result<(), Error> {
    let written = effective.written.as_deref();
    let top = Cursor::top(written.map(|(source, tree)| (source, tree)));
    let nothing = JsonNode { at: Position::START, kind: JsonKind::Object(Vec::new()) };
    let mut wrong = Vec::new();
    for (index, schema) in asked.iter().enumerate() {
        let cursor = top.key("plugins").index(index);
        match schema.as_deref().map(serde_json::from_str) {
            Err(why) => wrong.push(cursor.key("component").mistake(why.as_str())),
            Ok(Ok(schema)) => schema_check::compare(&schema, &cursor.key("config").or(&nothing), &mut wrong),
            // A schema that is none says nothing of the configuration; what the plugin itself makes of it is seen when it runs.
            Ok(Err(_)) => {}
        }
    }
    let backup = &effective.backup;
    for (index, why) in wrongly_included(backup.included(), &effective.db, &backup.dir, true) {
        wrong.push(top.key("backup").key("include").index(index).mistake(why));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::Wrong(Mistakes::new(wrong, written.map(|(source, _)| source)))) }
}
