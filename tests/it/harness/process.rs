//! The binary itself, started as its users start it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// `patchbay`, with an environment of its own.
pub fn patchbay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchbay"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["DATABASE_URL", "PATCHBAY_CONFIG", "PATCHBAY_LOG", "PATCHBAY_PORT", "PATCHBAY_LISTEN"] {
        command.env_remove(name);
    }
    command
}

/// What a command that ends by itself said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub fn run(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running service. It is killed when it is dropped.
pub struct Service {
    pub child: Child,
    pub url: String,
    log: PathBuf,
}

impl Service {
    /// Starts it and waits until it serves; gives what it said when it ends instead.
    pub fn start(mut command: Command, log: &Path, url: impl Fn() -> Option<String>) -> Result<Self, String> {
        let file = std::fs::File::create(log).unwrap();
        let mut child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("{status}: {}", std::fs::read_to_string(log).unwrap()));
            }
            if let Some(url) = url()
                && is_listening(&url)
            {
                return Ok(Self { child, url, log: log.to_owned() });
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{}", std::fs::read_to_string(log).unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `patchbay dev` on a free port.
    pub fn dev(data_dir: &Path) -> Result<Self, String> {
        Self::dev_with(data_dir, |_| ())
    }

    pub fn dev_with(data_dir: &Path, change: impl FnOnce(&mut Command)) -> Result<Self, String> {
        let env = data_dir.join("dev.env");
        // What an earlier service wrote would be read before this one has written.
        let before = std::fs::metadata(&env).and_then(|metadata| metadata.modified()).ok();
        let mut command = patchbay(&["--port", "0", "--data-dir", data_dir.to_str().unwrap()]);
        change(&mut command);
        let log = std::env::temp_dir().join(format!(
            "patchbay-test-{}-{:?}.log",
            std::process::id(),
            std::thread::current().id()
        ));
        Self::start(command, &log, || {
            let modified = std::fs::metadata(&env).and_then(|metadata| metadata.modified()).ok();
            if modified == before { None } else { dev_env(data_dir).remove("PATCHBAY_URL") }
        })
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

pub fn is_running(pid: u32) -> bool {
    // One that has ended and that nobody has asked for is a zombie: in a container there may be nobody who asks.
    if let Ok(state) = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        && state.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    {
        return false;
    }
    Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status().unwrap().success()
}

fn is_listening(url: &str) -> bool {
    let address = url.trim_start_matches("http://").split('/').next().unwrap();
    std::net::TcpStream::connect(address).is_ok()
}

/// What `dev.env` says.
pub fn dev_env(data_dir: &Path) -> BTreeMap<String, String> {
    let mut text = String::new();
    if let Ok(mut file) = std::fs::File::open(data_dir.join("dev.env")) {
        file.read_to_string(&mut text).unwrap();
    }
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.trim_matches('\'').to_owned())
        })
        .collect()
}

/// One operation over real HTTP.
pub async fn gql(url: &str, header: (&str, &str), document: &str, variables: Value) -> Value {
    let request = reqwest::Client::new().post(url).header(header.0, header.1);
    let answer = request.json(&json!({"query": document, "variables": variables})).send().await.unwrap();
    answer.json().await.unwrap()
}
