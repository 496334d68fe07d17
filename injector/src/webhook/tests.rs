//! How reviews are read.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Frame;

use super::*;

/// A body that begins and never ends.
struct Endless(Option<Bytes>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn who_sends_nothing_takes_nothing_and_is_let_go() {
    let bytes = Semaphore::new(10);
    let silent = read(Endless(None), &bytes);
    let slow = read(Endless(Some(Bytes::from_static(b"1234"))), &bytes);
    let other = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(bytes.available_permits(), 6);
        let (body, held) = read(Full::new(Bytes::from_static(b"whole")), &bytes).await.unwrap();
        assert_eq!((body.as_slice(), bytes.available_permits()), (b"whole".as_slice(), 1));
        drop(held);
    };
    let (silent, slow, ()) = tokio::join!(silent, slow, other);
    assert_eq!(silent.unwrap_err().0, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(slow.unwrap_err().0, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(bytes.available_permits(), 10);
}

#[tokio::test]
async fn more_than_a_review_or_than_there_is_room_for_is_not_kept() {
    let bytes = Semaphore::new(10);
    let long = Full::new(Bytes::from(vec![0; MAX_REVIEW + 1]));
    assert_eq!(read(long, &bytes).await.unwrap_err().0, StatusCode::PAYLOAD_TOO_LARGE);
    let no_room = Full::new(Bytes::from_static(b"eleven byte"));
    assert_eq!(read(no_room, &bytes).await.unwrap_err().0, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(bytes.available_permits(), 10);
}
