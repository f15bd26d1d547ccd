//! The list of everything that is in the binary, in CycloneDX 1.5, from what cargo resolved.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    Result,
    tool::{cargo, output},
};

/// The document, as JSON.
pub(super) fn document() -> Result<String> {
    let said = output(&mut cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        "x86_64-unknown-linux-musl",
    ]))?;
    let metadata: Value = serde_json::from_str(&said).map_err(|error| format!("`cargo metadata`: {error}"))?;
    Ok(format!("{:#}\n", of(&metadata)?))
}

/// The document of what `cargo metadata` says.
fn of(metadata: &Value) -> Result<Value> {
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let product = packages.values().find(|package| package["name"] == "vitalsign");
    let product = product.ok_or("`cargo metadata` does not list vitalsign")?;
    let mut seen = BTreeSet::new();
    let mut waiting = vec![product["id"].as_str().unwrap_or_default()];
    while let Some(id) = waiting.pop() {
        let Some(node) = nodes.get(id).filter(|_| seen.insert(id)) else { continue };
        waiting.extend(list(&node["deps"]).filter(|dep| is_linked(dep)).filter_map(|dep| dep["pkg"].as_str()));
    }
    let component = |id: &str| {
        let package = packages.get(id)?;
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        let licence = package["license"].as_str().unwrap_or("NOASSERTION").replace('/', " OR ");
        Some(json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": [{ "expression": licence }],
        }))
    };
    let components: Vec<Value> =
        seen.iter().filter(|id| **id != product["id"]).filter_map(|id| component(id)).collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "application", "name": "vitalsign", "version": product["version"] } },
        "components": components,
    }))
}

/// Whether a dependency is in the binary, and not only used to build or to test it.
fn is_linked(dep: &Value) -> bool {
    list(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_nothing_else() {
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let dep = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package("vitalsign"), package("linked"), package("below"), package("builds"), package("tests")],
            "resolve": { "nodes": [
                { "id": "vitalsign", "deps": [dep("linked", Value::Null), dep("builds", "build".into()), dep("tests", "dev".into())] },
                { "id": "linked", "deps": [dep("below", Value::Null), dep("vitalsign", Value::Null)] },
                { "id": "below", "deps": [] },
                { "id": "builds", "deps": [] },
                { "id": "tests", "deps": [] },
            ]},
        });
        let document = of(&metadata).unwrap();
        let names: Vec<_> = list(&document["components"]).map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["below", "linked"]);
        assert_eq!(document["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(document["components"][0]["purl"], "pkg:cargo/below@1.0.0");
    }
}
