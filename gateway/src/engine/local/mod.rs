//! placeholder
use super::*;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
pub struct LocalConfig { pub agent: PathBuf, pub runtimes_dir: PathBuf, pub data_dir: PathBuf, pub require_isolation: bool, pub exact_runtimes: bool, pub orphan_timeout: Duration, pub dns: Option<IpAddr> }
pub struct LocalEngine;
impl LocalEngine {
    pub async fn new(_: LocalConfig, _: mpsc::Sender<EngineEvent>) -> Result<Self, std::io::Error> { Ok(Self) }
    pub fn agent_socket(&self) -> &Path { Path::new("/tmp/a") }
    pub fn relay_socket(&self) -> &Path { Path::new("/tmp/b") }
    pub fn open_sockets(&self) -> std::io::Result<()> { Ok(()) }
    pub async fn close(&self) {}
}
impl Engine for LocalEngine {
    fn offers(&self, _: &str) -> Result<(), StartError> { Ok(()) }
    fn start(&self, _: StartOrder) -> BoxFuture<'_, Result<(), StartError>> { Box::pin(async { Ok(()) }) }
    fn limit(&self, _: WorkerId, _: Limits) -> BoxFuture<'_, Result<(), StartError>> { Box::pin(async { Ok(()) }) }
    fn adopt(&self, _: WorkerId, _: Option<u32>) {}
    fn stop(&self, _: WorkerId, _: Duration) -> BoxFuture<'_, ()> { Box::pin(async {}) }
}
