//! Pages printed to PDF by a Chromium that is on the machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names under which browsers that print are installed, the most common first.
const NAMES: [&str; 8] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "headless_shell",
    "chrome-headless-shell",
    "microsoft-edge",
];

/// Where browsers are that are not on the path.
const PLACES: [&str; 2] = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/// Longest time a browser may take over a page.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a page is not printed.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// There is nothing to print with.
    #[error(
        "no Chromium was found to print a PDF with; install one (`apt install chromium`, `dnf install chromium`, `brew \
         install --cask chromium`), or name its program in the environment variable SUPERNODE_CHROMIUM; a page written with \
         `html` can be printed from any browser"
    )]
    NoChromium,
    /// It did not print.
    #[error("{}: the browser did not print the page ({reason})", program.display())]
    Failed {
        /// The browser.
        program: PathBuf,
        /// What it said.
        reason: String,
    },
}

/// A browser that prints: the one that `SUPERNODE_CHROMIUM` names, or one on the path.
pub fn find_chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SUPERNODE_CHROMIUM") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let on_path = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    on_path.chain(PLACES.iter().map(PathBuf::from)).find(|path| path.is_file())
}

/// The page `html` printed as PDF.
///
/// # Errors
/// There is no browser, or it did not print.
pub fn print_pdf(html: &str) -> Result<Vec<u8>, PdfError> {
    let program = find_chromium().ok_or(PdfError::NoChromium)?;
    let failed = |reason: String| PdfError::Failed { program: program.clone(), reason };
    let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let page = folder.path().join("page.html");
    std::fs::write(&page, html).map_err(|error| failed(error.to_string()))?;
    let printed = folder.path().join("page.pdf");
    let mut command = Command::new(&program);
    command.args([
        "--headless",
        "--disable-gpu",
        "--no-pdf-header-footer",
        "--disable-extensions",
        "--no-first-run",
    ]);
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.arg(format!("--print-to-pdf={}", printed.display()));
    if needs_no_sandbox() {
        // The sandbox of Chromium does not start for root; the page is ours and runs no script.
        command.arg("--no-sandbox");
    }
    command.arg(format!("file://{}", page.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("it took longer than {} s", PATIENCE.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let bytes = std::fs::read(&printed).unwrap_or_default();
    if !bytes.starts_with(b"%PDF") {
        return Err(failed(status.to_string()));
    }
    Ok(bytes)
}

/// Whether the user is root, as the owner of a file of one's own tells.
fn needs_no_sandbox() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
    }
    #[cfg(not(unix))]
    false
}
