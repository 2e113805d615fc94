//! Finding entries: the built-in index with a user's directory laid over it. Nothing is parsed here but aliases.

use super::error::CatalogError;
use super::scan;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One compiled-in file.
pub(crate) struct Builtin {
    pub(crate) kind: &'static str,
    pub(crate) id: &'static str,
    pub(crate) path: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// Folders a user's directory may have even where the built-in catalog has none.
const KINDS: [&str; 5] = ["chips", "engines", "kernels", "links", "systems"];

/// A file of the catalog, unparsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// Folder: `chips`, `systems`, `kernels` ...; empty for the single files `economics` and `export_rules`.
    pub kind: &'a str,
    /// Catalog key: the file's name without `.toml`.
    pub id: &'a str,
    /// Where it is, for messages.
    pub path: &'a str,
    /// The TOML.
    pub text: &'a str,
}

/// A file of a user's directory.
#[derive(Debug, Clone)]
struct Added {
    path: String,
    aliases: Vec<String>,
    text: String,
}

/// All files by kind and id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    added: BTreeMap<(String, String), Added>,
}

/// The form in which names are compared: `H100_SXM` and `h100-sxm` are one.
pub(crate) fn normal(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace([' ', '_'], "-")
}

impl Index {
    /// Lays `directory` over the built-in files.
    pub(crate) fn with_directory(directory: &Path) -> Result<Self, CatalogError> {
        let mut index = Self::default();
        for path in entries(directory)? {
            let name = file_name(&path);
            if path.is_dir() {
                if !KINDS.contains(&name.as_str()) && !BUILTIN.iter().any(|file| file.kind == name) {
                    return Err(CatalogError::Misplaced { path: shown(&path), allowed: allowed() });
                }
                for file in entries(&path)? {
                    index.add(&name, &file)?;
                }
            } else if name.ends_with(".toml") {
                if !BUILTIN.iter().any(|file| file.kind.is_empty() && name == format!("{}.toml", file.id)) {
                    return Err(CatalogError::Misplaced { path: shown(&path), allowed: allowed() });
                }
                index.add("", &path)?;
            }
        }
        index.refuse_collisions()?;
        Ok(index)
    }

    /// Takes one file in; anything that is not TOML (a README beside the data) is left alone.
    fn add(&mut self, kind: &str, path: &Path) -> Result<(), CatalogError> {
        let name = file_name(path);
        let Some(id) = name.strip_suffix(".toml") else { return Ok(()) };
        let bytes = fs::File::open(path)
            .and_then(|file| bounded::bytes_of(file, bounded::TEXT))
            .map_err(|error| CatalogError::Read { path: shown(path), reason: error.to_string() })?;
        let text = String::from_utf8(bytes).map_err(|error| CatalogError::NotUtf8 {
            path: shown(path),
            offset: error.utf8_error().valid_up_to(),
        })?;
        self.insert(kind, id, shown(path), text)
    }

    /// Lays one text over what has its kind and key.
    pub(crate) fn insert(
        &mut self,
        kind: &str,
        id: &str,
        path: String,
        text: String,
    ) -> Result<(), CatalogError> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if id.is_empty() || !id.bytes().all(good) {
            return Err(CatalogError::BadId { path, id: id.to_owned() });
        }
        let added = Added { path, aliases: scan::aliases(&text), text };
        self.added.insert((kind.to_owned(), id.to_owned()), added);
        Ok(())
    }

    /// Every file, the user's in place of built-in ones of the same key, ordered by kind and id.
    pub(crate) fn documents(&self) -> impl Iterator<Item = (Document<'_>, Vec<&str>)> {
        let added = self.added.iter().map(|((kind, id), file)| {
            let names = file.aliases.iter().map(String::as_str).collect();
            (Document { kind, id, path: &file.path, text: &file.text }, names)
        });
        let builtin = BUILTIN
            .iter()
            .filter(|file| !self.added.contains_key(&(file.kind.to_owned(), file.id.to_owned())))
            .map(|file| {
                let document = Document { kind: file.kind, id: file.id, path: file.path, text: file.text };
                (document, file.aliases.to_vec())
            });
        let mut all: Vec<_> = added.chain(builtin).collect();
        all.sort_by_key(|(document, _)| (document.kind, document.id));
        all.into_iter()
    }

    /// The file of `kind` that answers to `name`, by id or alias.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Result<Document<'_>, CatalogError> {
        let wanted = normal(name);
        let mut by_alias = None;
        for (document, aliases) in self.documents().filter(|(document, _)| document.kind == kind) {
            if normal(document.id) == wanted {
                return Ok(document);
            }
            if aliases.iter().any(|alias| normal(alias) == wanted) {
                by_alias = Some(document);
            }
        }
        by_alias.ok_or_else(|| self.unknown(&[kind], name))
    }

    /// The error for a name that no entry of `kinds` has: the nearest name, or all of a single kind.
    pub(crate) fn unknown(&self, kinds: &[&str], name: &str) -> CatalogError {
        let documents: Vec<_> =
            self.documents().filter(|(document, _)| kinds.contains(&document.kind)).collect();
        let names =
            documents.iter().flat_map(|(document, aliases)| aliases.iter().copied().chain([document.id]));
        let hint = match nearest(&normal(name), names) {
            Some(name) => format!("; did you mean `{name}`?"),
            None if kinds.len() > 1 => "; `supernode catalog list` shows all names".to_owned(),
            None => {
                let ids: Vec<&str> = documents.iter().map(|(document, _)| document.id).collect();
                format!("; it has {}", ids.join(", "))
            }
        };
        CatalogError::UnknownName { kind: kinds.join(", "), name: name.to_owned(), hint }
    }

    /// Refuses two entries of one kind that answer to the same name.
    pub(crate) fn refuse_collisions(&self) -> Result<(), CatalogError> {
        let mut owners: BTreeMap<(String, String), String> = BTreeMap::new();
        for (document, aliases) in self.documents() {
            let mut names: Vec<String> = aliases.iter().copied().chain([document.id]).map(normal).collect();
            names.sort();
            names.dedup();
            for name in names {
                let key = (document.kind.to_owned(), name.clone());
                if let Some(first) = owners.insert(key, document.path.to_owned()) {
                    return Err(CatalogError::Collision { name, first, second: document.path.to_owned() });
                }
            }
        }
        Ok(())
    }
}

/// The candidate most like `wanted`, if any is like it at all.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(wanted, &normal(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

fn allowed() -> String {
    let folders = KINDS.iter().map(|kind| format!("`{kind}/`"));
    let files = BUILTIN.iter().filter(|file| file.kind.is_empty()).map(|file| format!("`{}.toml`", file.id));
    folders.chain(files).collect::<Vec<_>>().join(", ")
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, CatalogError> {
    let failed =
        |error: std::io::Error| CatalogError::Read { path: shown(directory), reason: error.to_string() };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
