//! How a part of the server learns that it is to stop.

use tokio::sync::watch;

/// Waits until the server is told to stop; at once if nobody is left who could tell.
pub async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
