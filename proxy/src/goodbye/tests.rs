use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

async fn bye(goodbye: &mut Goodbye, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Duration {
    let begun = Instant::now();
    std::future::poll_fn(|cx| goodbye.poll(cx, stream)).await.unwrap();
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_goodbye_is_thrown_away_until_the_client_closes() {
    let (mut client, mut ours) = duplex(10);
    ours.write_all(b"answer").await.unwrap();
    let reading = async {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            client.write_all(&[7; 10_000]).await.unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let mut goodbye = Goodbye::new(None);
    let (took, answer) = tokio::join!(bye(&mut goodbye, &mut ours), reading);
    assert_eq!((took.as_secs(), answer.as_str()), (16, "answer"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_and_one_that_talks_for_ever_are_waited_for_for_a_while() {
    let (client, mut ours) = duplex(10);
    assert_eq!(bye(&mut Goodbye::new(None), &mut ours).await, SILENCE);
    drop(client);
    let (mut client, mut ours) = duplex(10);
    let talking = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if client.write_all(b"and").await.is_err() {
                return;
            }
        }
    };
    let closing = async {
        let took = bye(&mut Goodbye::new(None), &mut ours).await;
        drop(ours);
        took
    };
    assert_eq!(tokio::join!(closing, talking).0, LONGEST);
}

#[tokio::test(start_paused = true)]
async fn in_a_hurry_a_silent_client_is_not_waited_for_long() {
    let (mut client, mut ours) = duplex(10);
    let hurry = CancellationToken::new();
    let talking = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            client.write_all(b"and").await.unwrap();
        }
        hurry.cancel();
        for _ in 0..3 {
            tokio::time::sleep(HURRIED / 2).await;
            client.write_all(b"and").await.unwrap();
        }
    };
    let mut goodbye = Goodbye::new(Some(hurry.clone()));
    let (took, ()) = tokio::join!(bye(&mut goodbye, &mut ours), talking);
    assert_eq!(took, Duration::from_secs(6) + HURRIED / 2 * 3 + HURRIED);
    // It is woken by the hurry itself.
    let (_client, mut ours) = duplex(10);
    let hurry = CancellationToken::new();
    let mut goodbye = Goodbye::new(Some(hurry.clone()));
    let hurrying = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        hurry.cancel();
    };
    let (took, ()) = tokio::join!(bye(&mut goodbye, &mut ours), hurrying);
    assert_eq!(took, Duration::from_secs(1));
}
