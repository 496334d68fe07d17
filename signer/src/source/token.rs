//! A key in a PKCS#11 token, which never leaves it: Ed25519 by `CKM_EDDSA` (PKCS#11 3.0 section 2.3.14).
//!
//! One thread of its own talks to the token, since a module may block for as long as it likes. Callers wait for a bounded
//! time. A token that was pulled out is looked for again at the next signature; a PIN that was refused is not tried again,
//! since tokens lock themselves after a few wrong ones.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::uri::TokenUri;
use crate::keys::{PublicKey, SIGNATURE_LEN, SignError, Signer};

mod session;

/// Longest wait for a token's answer: smart cards take a second, network modules a few.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest wait for the thread's end: a module that hangs does not keep the process from ending.
const FAREWELL: Duration = Duration::from_secs(5);

/// Requests that may wait for a token; the log signs one thing at a time.
const WAITING: usize = 8;

/// Signed once at the start, so that a private key without its public half is noticed then.
const TRIAL: &[u8] = b"colophon/token-trial/v1\n";

type Signature = [u8; SIGNATURE_LEN];

/// What the token's thread is asked.
struct Request {
    message: Vec<u8>,
    answer: SyncSender<Result<Signature, String>>,
}

/// A key in a token.
pub(super) struct Token {
    name: String,
    public: PublicKey,
    thread: Thread,
}

impl Token {
    /// Finds the key and signs something with it.
    pub(super) fn open(uri: &TokenUri) -> Result<Token, String> {
        Token::start(uri, false)
    }

    /// Makes the key, then opens it.
    pub(super) fn generate(uri: &TokenUri) -> Result<Token, String> {
        Token::start(uri, true)
    }

    fn start(uri: &TokenUri, generate: bool) -> Result<Token, String> {
        let (opened, answer) = sync_channel(1);
        let name = uri.to_string();
        let uri = uri.clone();
        let thread = Thread::start(move |received| {
            let mut worker = Worker { uri, public: None, session: None, pin_refused: false };
            let public = if generate { session::generate(&worker.uri) } else { Ok(()) };
            let public = public.and_then(|()| worker.first());
            if opened.send(public).is_ok() {
                worker.serve(received);
            }
        })
        .map_err(|e| format!("no thread for the token: {e}"))?;
        let public = answer.recv_timeout(PATIENCE).map_err(|e| silent(&e))??;
        Ok(Token { name, public, thread })
    }

    fn ask(&self, message: &[u8]) -> Result<Signature, String> {
        let (answer, answered) = sync_channel(1);
        let request = Request { message: message.to_vec(), answer };
        self.thread.send(request)?;
        answered.recv_timeout(PATIENCE).map_err(|e| silent(&e))?
    }
}

fn silent(error: &RecvTimeoutError) -> String {
    match error {
        RecvTimeoutError::Timeout => format!("the token did not answer within {PATIENCE:?}"),
        RecvTimeoutError::Disconnected => {
            "the token's thread has ended: its module may have crashed".to_owned()
        }
    }
}

impl Signer for Token {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, msg: &[u8]) -> Result<Signature, SignError> {
        self.ask(msg).map_err(|why| SignError { key: self.name.clone(), why })
    }

    fn waits(&self) -> bool {
        true
    }
}

/// The token's thread, seen from outside. Its end is waited for: modules crash where the process ends while one of its
/// threads is still closing a session, or unloading the module.
struct Thread {
    /// `None` once it is told to end.
    requests: Option<SyncSender<Request>>,
    /// Disconnected when the thread has nothing left to do. Only `drop` looks, so nobody ever waits for the lock.
    ended: Mutex<Receiver<()>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(work: impl FnOnce(&Receiver<Request>) + Send + 'static) -> std::io::Result<Thread> {
        let (requests, received) = sync_channel(WAITING);
        let (ending, ended) = sync_channel(0);
        let handle = std::thread::Builder::new().name("pkcs11".into()).spawn(move || {
            // Dropped after all that the work has used, also when it panics.
            let _ending: SyncSender<()> = ending;
            work(&received);
        })?;
        Ok(Thread { requests: Some(requests), ended: Mutex::new(ended), handle: Some(handle) })
    }

    fn send(&self, request: Request) -> Result<(), String> {
        let ended = || "the token's thread has ended".to_owned();
        self.requests.as_ref().ok_or_else(ended)?.try_send(request).map_err(|e| match e {
            TrySendError::Full(_) => format!("the token has not answered {WAITING} earlier requests"),
            TrySendError::Disconnected(_) => ended(),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.requests = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            return;
        }
        // It ended by a panic, or well: there is nothing to do about either here.
        let _ = self.handle.take().map(JoinHandle::join);
    }
}

/// What runs in that thread: it alone talks to the token.
struct Worker {
    uri: TokenUri,
    /// The key that was there at the start: another one is no substitute.
    public: Option<PublicKey>,
    session: Option<session::Session>,
    pin_refused: bool,
}

impl Worker {
    fn first(&mut self) -> Result<PublicKey, String> {
        self.try_sign(TRIAL).map_err(|problem| problem.why)?;
        self.public.ok_or_else(|| "the token gave no public key".to_owned())
    }

    fn serve(&mut self, received: &Receiver<Request>) {
        // Ends when the last `Token` is gone.
        while let Ok(Request { message, answer }) = received.recv() {
            // Whoever asked may have lost patience.
            let _ = answer.send(self.sign(&message));
        }
    }

    /// Signs; where that fails, once more from scratch, since a session ends when its token is pulled out.
    fn sign(&mut self, message: &[u8]) -> Result<Signature, String> {
        let had_session = self.session.is_some();
        match self.try_sign(message) {
            Err(_) if had_session && !self.pin_refused => {
                self.try_sign(message).map_err(|problem| problem.why)
            }
            other => other.map_err(|problem| problem.why),
        }
    }

    fn try_sign(&mut self, message: &[u8]) -> Result<Signature, session::Problem> {
        let signed = self.signed(message);
        if let Err(problem) = &signed {
            self.session = None;
            self.pin_refused |= problem.pin;
        }
        signed
    }

    fn signed(&mut self, message: &[u8]) -> Result<Signature, session::Problem> {
        if self.pin_refused {
            return Err("the token refused the PIN, and would lock itself if that were repeated: put it right and start \
                        again"
                .to_owned()
                .into());
        }
        let session = match self.session.take() {
            Some(session) => session,
            // A second start of the module sees tokens that came and went.
            None => session::Session::open(&self.uri, self.public.is_some())?,
        };
        let session = self.session.insert(session);
        if self.public.is_some_and(|public| public != session.public()) {
            return Err("the token now holds another key under this name".to_owned().into());
        }
        let signature = session.sign(message)?;
        let public = session.public();
        public
            .verify(message, &signature)
            .map_err(|_| "the token's signature does not verify with the public key beside it".to_owned())?;
        self.public = Some(public);
        Ok(signature)
    }
}

#[cfg(test)]
mod tests;
