//! Builds the pages in `ui/` with npm, when it is there, and hands their folder to `src/http/graphiql.rs`.
//!
//! Without npm, or without a way to its packages, a small page takes their place: `cargo build` never needs Node. The
//! result is kept beside the other build products under the hash of its sources, so that it is built once and not for
//! every profile. `PATCHBAY_UI=none` skips it.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

const SOURCES: [&str; 7] = [
    "package.json",
    "package-lock.json",
    "vite.config.mjs",
    "index.html",
    "src/main.js",
    "src/examples.js",
    "src/style.css",
];

#[expect(clippy::disallowed_methods, reason = "a build script has no other settings than its environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=PATCHBAY_UI");
    println!("cargo::rerun-if-changed=ui/fallback.html");
    // A migration that is added must be embedded.
    println!("cargo::rerun-if-changed=migrations");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut hash = DefaultHasher::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed=ui/{source}");
        fs::read(Path::new("ui").join(source))?.hash(&mut hash);
    }
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let products = out.ancestors().nth(4).ok_or("OUT_DIR is too short")?;
    let folder = products.join("ui").join(format!("{:016x}", hash.finish()));
    let pages = if env::var("PATCHBAY_UI").is_ok_and(|ui| ui == "none") {
        fallback(&out)?
    } else if folder.join("dist/index.html").exists() {
        folder.join("dist")
    } else {
        match build(&folder) {
            Ok(()) => folder.join("dist"),
            Err(reason) => {
                println!("cargo::warning=GraphiQL is left out ({reason}); a page with curl examples takes its place.");
                // Try again next time, when there may be npm.
                println!("cargo::rerun-if-changed={}", folder.join("dist").display());
                fallback(&out)?
            }
        }
    };
    println!("cargo::rustc-env=PATCHBAY_UI_DIR={}", pages.display());
    Ok(())
}

fn build(folder: &Path) -> Result<(), Box<dyn Error>> {
    let work = folder.with_extension(format!("{}", std::process::id()));
    for source in SOURCES {
        let copy = work.join(source);
        fs::create_dir_all(copy.parent().ok_or("a source has a folder")?)?;
        fs::copy(Path::new("ui").join(source), copy)?;
    }
    let result = run(&work, &["ci", "--no-audit", "--no-fund", "--silent"])
        .and_then(|()| run(&work, &["run", "build", "--silent"]));
    let _ = fs::remove_dir_all(work.join("node_modules"));
    if result.is_ok() {
        let _ = fs::remove_dir_all(folder);
        fs::rename(&work, folder)?;
    } else {
        let _ = fs::remove_dir_all(&work);
    }
    result
}

fn run(folder: &Path, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(folder)
        // Without a network this must fail soon: the build goes on without the page.
        .env("npm_config_fetch_retries", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(format!("npm {}: {last}", arguments[0]).into())
}

fn fallback(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let pages = out.join("fallback");
    fs::create_dir_all(&pages)?;
    fs::copy("ui/fallback.html", pages.join("index.html"))?;
    Ok(pages)
}
