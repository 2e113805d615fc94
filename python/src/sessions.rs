//! Facts that were read, kept for the next question.

use std::sync::{Mutex, PoisonError};
use supernode::{Error, Facts, Session};

/// Sessions kept at a time.
const KEPT: usize = 4;

/// Questions after which a session is made anew: deployments that were priced are never dropped from one.
const LIFETIME: u32 = 1024;

static SESSIONS: Mutex<Vec<(Facts, Session, u32)>> = Mutex::new(Vec::new());

/// The session of these facts. Facts from a folder are read each time, since its files may have changed.
pub fn session(facts: &Facts) -> Result<Session, Error> {
    if facts.catalog.is_some() {
        return Session::open(facts);
    }
    let mut kept = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = kept.iter().position(|(other, _, _)| other == facts) {
        let (_, session, uses) = &mut kept[at];
        *uses += 1;
        let session = session.clone();
        if *uses >= LIFETIME {
            kept.remove(at);
        }
        return Ok(session);
    }
    drop(kept);
    let session = Session::open(facts)?;
    let mut kept = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= KEPT {
        kept.remove(0);
    }
    kept.push((facts.clone(), session.clone(), 1));
    Ok(session)
}
