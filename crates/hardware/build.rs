//! Writes the index of the built-in catalog: every `catalog/<kind>/<id>.toml` with its aliases and text, so that a
//! program parses only the few files it needs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

include!("src/catalog/scan.rs");

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.join("../../catalog");
    println!("cargo:rerun-if-changed={}", root.display());
    println!("cargo:rerun-if-changed=src/catalog/scan.rs");

    let mut index = String::from("pub(crate) static BUILTIN: &[Builtin] = &[\n");
    for file in toml_files(&root)? {
        entry(&mut index, "", &root, &file)?;
    }
    for kind in sorted(&root, Path::is_dir)? {
        let folder = root.join(&kind);
        for file in toml_files(&folder)? {
            entry(&mut index, &kind, &folder, &file)?;
        }
    }
    index.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("builtin.rs"), index)
}

/// Appends one row of the index.
fn entry(index: &mut String, kind: &str, folder: &Path, file: &str) -> io::Result<()> {
    let id = file.trim_end_matches(".toml");
    let path = if kind.is_empty() { file.to_owned() } else { format!("{kind}/{file}") };
    let names = aliases(&fs::read_to_string(folder.join(file))?);
    writeln!(
        index,
        "    Builtin {{ kind: {kind:?}, id: {id:?}, path: {:?}, aliases: &{names:?}, \
         text: include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?})) }},",
        format!("catalog/{path}"),
        format!("/../../catalog/{path}"),
    )
    .map_err(io::Error::other)
}

fn toml_files(folder: &Path) -> io::Result<Vec<String>> {
    Ok(sorted(folder, Path::is_file)?.into_iter().filter(|name| name.ends_with(".toml")).collect())
}

fn sorted(folder: &Path, wanted: fn(&Path) -> bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if wanted(&path) {
            names.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}
