//! Which format a module has.

use super::pattern::Pattern;
use crate::arch::Group;
use std::collections::BTreeMap;
use units::Dtype;

/// The format of a matrix and of the activations it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub weights: Dtype,
    pub activations: Dtype,
}

impl Format {
    /// Weights and activations alike.
    pub(super) const fn both(dtype: Dtype) -> Self {
        Self { weights: dtype, activations: dtype }
    }
}

/// What a quantisation tool says of a checkpoint's modules.
#[derive(Debug, Default)]
pub(super) struct Scheme {
    /// Format of modules that nothing else is said of; `None` leaves them as they were.
    pub default: Option<Format>,
    /// Modules with a format of their own, by full name; a name covers what is below it.
    pub modules: BTreeMap<String, Option<Format>>,
    /// The same, by pattern.
    pub patterns: Vec<(Pattern, Option<Format>)>,
    /// Routed experts, where one word of the configuration speaks of them.
    pub experts: Option<Format>,
    /// The cache.
    pub kv: Option<Dtype>,
    /// Scales of integer weights.
    pub group: Option<Group>,
}

impl Scheme {
    /// Nothing is quantised.
    pub(super) fn plain() -> Self {
        Self::default()
    }

    pub(super) fn is_plain(&self) -> bool {
        self.default.is_none() && self.modules.is_empty() && self.patterns.is_empty()
    }

    /// A format for everything but the modules excluded.
    pub(super) fn with_exclusions(default: Option<Format>, excluded: Vec<Pattern>) -> Self {
        let mut scheme = Self { default, ..Self::default() };
        scheme.exclude(excluded);
        scheme
    }

    pub(super) fn exclude(&mut self, excluded: Vec<Pattern>) {
        for pattern in excluded {
            self.say(pattern, None);
        }
    }

    /// Gives the modules of a pattern a format; what is said first holds.
    pub(super) fn say(&mut self, pattern: Pattern, format: Option<Format>) {
        match pattern {
            Pattern::Path(name) if name.contains("layers.") || name.contains("lm_head") => {
                self.modules.entry(name).or_insert(format);
            }
            other => self.patterns.push((other, format)),
        }
    }

    /// The format of a module that goes by any of these names; `None` if it is not quantised.
    pub(super) fn format(&self, names: &[String]) -> Option<Format> {
        let listed = names.iter().find_map(|name| self.by_ancestor(name));
        let matched = || {
            let by_pattern =
                |(pattern, _): &&(Pattern, Option<Format>)| names.iter().any(|name| pattern.matches(name));
            self.patterns.iter().find(by_pattern).map(|(_, format)| *format)
        };
        listed.or_else(matched).unwrap_or(self.default)
    }

    /// The format of a module that is listed by name, if it is one.
    pub(super) fn listed(&self, name: &str) -> Option<Format> {
        self.modules.get(name).copied().flatten()
    }

    /// Whether the format that applies to experts is only the default, so that [`Self::experts`] goes before it.
    pub(super) fn overrides_experts(&self, found: Format) -> bool {
        self.experts.is_some() && (self.default.is_none() || self.default == Some(found))
    }

    fn by_ancestor(&self, name: &str) -> Option<Option<Format>> {
        let mut path = name;
        loop {
            if let Some(format) = self.modules.get(path) {
                return Some(*format);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}
