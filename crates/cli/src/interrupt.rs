//! Interrupts by the user: the first one asks what is under way to end with what it has, a second one ends the program.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What long work looks at now and then, and ends with what it has once it is set. From the first call on an interrupt
/// no longer ends the program by itself.
pub fn stopped() -> &'static Arc<AtomicBool> {
    static STOPPED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    STOPPED.get_or_init(|| {
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let set = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                report::abandon();
                std::process::exit(130);
            }
        });
        // Without a handler an interrupt ends the program, which is what it does otherwise.
        drop(set);
        stopped
    })
}
