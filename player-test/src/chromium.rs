//! Chromium, driven by chromedriver.

use std::ops::Deref;

use anyhow::Result;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::browser::{Browser, START_LIMIT};
use crate::network::Place;
use crate::process::Process;

pub use crate::browser::{ForeignPublish, Sending, Watching};

/// Flags of every Chromium here: headless as root, no traffic of its own, fake devices at 30 frames a second (the fake
/// camera's default is 20), sound decoded but not played aloud, and no throttling of what is not in front.
const FLAGS: [&str; 17] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--use-fake-device-for-media-stream=fps=30",
    "--use-fake-ui-for-media-stream",
    "--window-size=1000,800",
];

/// One Chromium with one page. It ends, with its driver, when this goes.
#[derive(Debug)]
pub struct Chromium(Browser);

impl Deref for Chromium {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.0
    }
}

impl From<Chromium> for Browser {
    fn from(chromium: Chromium) -> Self {
        chromium.0
    }
}

impl Chromium {
    /// Starts a browser; `name` is for logs and screenshots.
    ///
    /// # Errors
    /// When chromedriver or Chromium does not start.
    pub async fn start(name: &str) -> Result<Self> {
        Self::launch(name, None, Map::new()).await
    }

    /// The same in another place: it reaches home only through that place's link.
    ///
    /// # Errors
    /// When chromedriver or Chromium does not start.
    pub async fn start_in(place: &Place, name: &str) -> Result<Self> {
        Self::launch(name, Some(place), Map::new()).await
    }

    /// The same with a browser that takes every certificate, as a person does who goes on in spite of the warning.
    ///
    /// # Errors
    /// When chromedriver or Chromium does not start.
    pub async fn start_unsuspicious(name: &str) -> Result<Self> {
        let mut capabilities = Map::new();
        capabilities.insert("acceptInsecureCerts".to_owned(), json!(true));
        Self::launch(name, None, capabilities).await
    }

    async fn launch(name: &str, place: Option<&Place>, mut capabilities: Map<String, Value>) -> Result<Self> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut driver = Process::spawn_in(place, &format!("chromedriver ({name})"), command)?;
        let port = |line: &str| -> Option<u16> {
            line.split("started successfully on port ").nth(1)?.trim_end_matches('.').parse().ok()
        };
        let port: u16 = driver.line("its port", START_LIMIT, port).await?;
        let profile = TempDir::new()?;
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        capabilities.insert("goog:chromeOptions".to_owned(), json!({ "args": flags }));
        Ok(Self(Browser::connect(name, driver, port, capabilities, profile, place).await?))
    }

    /// Ends the browser in an orderly way: its connections close as when a person closes the window.
    ///
    /// # Errors
    /// When the driver has died.
    pub async fn close(self) -> Result<()> {
        self.0.close().await
    }
}
