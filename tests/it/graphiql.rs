//! GraphiQL in a real browser: it loads from the binary alone, knows the schema, runs a query, and breaks no policy.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::harness::process::{Service, dev_env};
use crate::http::{node_is_here, run_node};

#[tokio::test(flavor = "multi_thread")]
async fn graphiql_runs_in_a_browser_without_a_request_to_anybody_else() {
    let browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(browser) = browser.filter(|_| node_is_here()) else {
        eprintln!("SKIPPED: there is no Chromium on this machine");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let data_dir = home.path().join("data");
    let service = Service::dev(&data_dir).unwrap_or_else(|said| panic!("{said}"));
    let url = dev_env(&data_dir)["PATCHBAY_GRAPHIQL"].clone();
    let page = reqwest::get(&url).await.unwrap();
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self';"));
    if page.text().await.unwrap().contains("GraphiQL is not in this binary") {
        eprintln!("SKIPPED: this binary was built without npm");
        return;
    }
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("graphiql.png").display().to_string();
    let (passed, text) = tokio::task::spawn_blocking(move || {
        run_node("graphiql.mjs", &[("URL_UNDER_TEST", &url), ("BROWSER", browser), ("PICTURE", &picture)])
    })
    .await
    .unwrap();
    assert!(passed, "{text}\n{}", service.log());
}

/// The demo token is for a page on this machine, under a name of this machine.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_token_is_for_this_machine_only() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let data_dir = home.path().join("data");
    let service = Service::dev(&data_dir).unwrap_or_else(|said| panic!("{said}"));
    let url = format!("{}/headers.json", dev_env(&data_dir)["PATCHBAY_GRAPHIQL"]);
    let port = service.url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let ask = async |host: &str| {
        let answer = reqwest::Client::new().get(&url).header("host", host).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for host in
        [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".to_owned(), format!("[::1]:{port}")]
    {
        let (status, text) = ask(&host).await;
        assert_eq!(status, 200, "{host}");
        assert!(text.contains(&dev_env(&data_dir)["PATCHBAY_TOKEN"]));
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[::1].evil.example"] {
        assert_eq!(ask(host).await.0, 404, "{host}");
    }
}
