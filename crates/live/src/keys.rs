//! Keys of tenants: 256 random bits of ours, of which only the SHA-256 is kept.
//!
//! A key is `sn-<public>-<secret>`: it is looked up by its public part, and its hash is compared in constant time. A key
//! that is random needs no slow hash: one that is slow on unknown keys would be a way to keep the server busy.

use crate::openai::ApiError;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// The tenant.
    pub tenant: u32,
    /// The public part of its key.
    pub key: Option<Arc<str>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    key: Vec<RawKey>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    public: String,
    sha256: String,
    tenant: u32,
    #[serde(default)]
    weight: Option<f64>,
    #[serde(default)]
    rate: Option<f64>,
    #[serde(default)]
    concurrency: Option<u32>,
    #[serde(default)]
    tokens_per_minute: Option<u64>,
}

/// Terms of a tenant, from the file of keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Whose.
    pub tenant: u32,
    /// Weight in fair shares.
    pub weight: Option<f64>,
    /// Requests per second.
    pub rate: Option<f64>,
    /// Requests in flight.
    pub concurrency: Option<u32>,
    /// Tokens per minute.
    pub tokens_per_minute: Option<u64>,
}

#[derive(Debug, Clone)]
struct Key {
    sha256: [u8; 32],
    who: Who,
}

/// The keys that are let in; none at all lets everybody in as tenant 0.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    by_public: HashMap<String, Key>,
    /// Terms of the tenants.
    pub terms: Vec<Terms>,
}

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct KeysError {
    file: String,
    problem: String,
}

impl Keys {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// A file that cannot be read, or keys that are none.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let wrong = |problem: String| KeysError { file: path.display().to_string(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let raw: RawFile = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let mut keys = Self::default();
        for key in raw.key {
            let sha256 = unhex(&key.sha256).ok_or_else(|| {
                wrong(format!("sha256 of key `{}` must be 64 hexadecimal digits", key.public))
            })?;
            let who = Who { tenant: key.tenant, key: Some(Arc::from(key.public.as_str())) };
            if keys.by_public.insert(key.public.clone(), Key { sha256, who }).is_some() {
                return Err(wrong(format!("key `{}` is there twice", key.public)));
            }
            let terms = Terms {
                tenant: key.tenant,
                weight: key.weight,
                rate: key.rate,
                concurrency: key.concurrency,
                tokens_per_minute: key.tokens_per_minute,
            };
            match keys.terms.iter().find(|known| known.tenant == key.tenant) {
                Some(known) if *known != terms => {
                    return Err(wrong(format!("the keys of tenant {} disagree on its limits", key.tenant)));
                }
                Some(_) => {}
                None => keys.terms.push(terms),
            }
        }
        if keys.is_empty() {
            return Err(wrong("has no `[[key]]`; make one with `supernode keys new`".to_owned()));
        }
        Ok(keys)
    }

    /// Whether everybody is let in.
    pub fn is_empty(&self) -> bool {
        self.by_public.is_empty()
    }

    /// Who sends a request with this `Authorization` header.
    ///
    /// # Errors
    /// 401 for a key that is missing or unknown.
    pub fn who(&self, authorization: Option<&str>) -> Result<Who, ApiError> {
        if self.is_empty() {
            return Ok(Who::default());
        }
        let refused = || ApiError::new(401, "give a valid key: Authorization: Bearer sn-...");
        let (scheme, key) = authorization.and_then(|text| text.split_once(' ')).ok_or_else(refused)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused());
        }
        let key = key.trim();
        let public = key.strip_prefix("sn-").and_then(|rest| rest.split('-').next()).unwrap_or("");
        // The work is the same for unknown keys.
        let hash = Sha256::digest(key.as_bytes());
        let known = self.by_public.get(public);
        let expected = known.map_or([0; 32], |key| key.sha256);
        let same = bool::from(hash.as_slice().ct_eq(&expected));
        known.filter(|_| same).map(|key| key.who.clone()).ok_or_else(refused)
    }

    /// The terms of a tenant.
    pub fn terms(&self, tenant: u32) -> Option<&Terms> {
        self.terms.iter().find(|terms| terms.tenant == tenant)
    }
}

/// A new key and its entry for the file of keys.
///
/// # Errors
/// A system without random numbers.
pub fn make(tenant: u32) -> std::io::Result<(String, String)> {
    let (public, secret) = (hex(&random::<4>()?), hex(&random::<32>()?));
    let key = format!("sn-{public}-{secret}");
    let sha256 = hex(&Sha256::digest(key.as_bytes()));
    Ok((key, format!("[[key]]\npublic = \"{public}\"\nsha256 = \"{sha256}\"\ntenant = {tenant}\n")))
}

/// Random bytes of the operating system.
///
/// # Errors
/// A system without them.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok().filter(|_| text.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_and_nothing_else_is_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let (key, entry) = make(7).unwrap();
        std::fs::write(&path, format!("{entry}rate = 5.0\n")).unwrap();
        let keys = Keys::read(&path).unwrap();
        let who = keys.who(Some(&format!("Bearer {key}"))).unwrap();
        assert_eq!((who.tenant, keys.terms(7).unwrap().rate), (7, Some(5.0)));
        let mut other = key.clone();
        let last = if other.pop() == Some('0') { '1' } else { '0' };
        other.push(last);
        for wrong in [
            None,
            Some(""),
            Some("Bearer"),
            Some("Basic x"),
            Some("Bearer sn-"),
            Some(&*format!("Bearer {other}")),
        ] {
            assert_eq!(keys.who(wrong).unwrap_err().status, 401, "{wrong:?}");
        }
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&key), "the key itself is not kept");
        std::fs::write(&path, "").unwrap();
        assert!(Keys::read(&path).is_err());
    }
}
