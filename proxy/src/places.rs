//! Places for exchanges under way, where the limit on open files leaves fewer than clients could ask for.

use crate::serve::Exchanges;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) struct Places {
    places: Arc<Semaphore>,
    /// Exchanges of HTTP/1.1 take none: there is one for each of their connections.
    streams_only: bool,
}

/// Taken until it is dropped.
pub(crate) type Taking = Arc<OwnedSemaphorePermit>;

impl Places {
    pub(crate) fn new(exchanges: Exchanges) -> Places {
        let (places, streams_only) = match exchanges {
            Exchanges::Streams(places) => (places, true),
            Exchanges::All(places) => (places, false),
        };
        Places { places: Arc::new(Semaphore::new(places as usize)), streams_only }
    }

    /// For a stream of HTTP/2.
    pub(crate) async fn of_stream(&self) -> Option<Taking> {
        // It is never closed.
        self.places.clone().acquire_owned().await.ok().map(Arc::new)
    }

    /// For an exchange of HTTP/1.1.
    pub(crate) async fn of_connection(&self) -> Option<Taking> {
        if self.streams_only { None } else { self.of_stream().await }
    }
}
