//! The files of a catalog that only this crate can read: kernel profiles and classes of links.

use crate::comm::LinkClass;
use crate::kernels::Profile;
use hardware::Catalog;

/// What is wrong with them: the file, and what would be right.
pub fn check(catalog: &Catalog) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut add = |path: &str, found: Option<String>| {
        problems.extend(found.map(|message| (path.to_owned(), message)));
    };
    for id in catalog.ids("kernels") {
        if let Ok(document) = catalog.document("kernels", &id) {
            let read = Profile::parse(document.text, document.id);
            add(document.path, read.err().map(|error| error.to_string()));
        }
    }
    for id in catalog.ids("links") {
        if let Ok(document) = catalog.document("links", &id) {
            let read = LinkClass::parse(document.id, document.text);
            add(document.path, read.err().map(|error| error.to_string()));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_files_are_in_order() {
        assert_eq!(super::check(&hardware::Catalog::builtin()), []);
    }
}
