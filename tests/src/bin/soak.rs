//! The long run of `colophon_tests::soak`; `cargo xtask soak` builds the release programs and runs it. Ctrl-C ends it
//! after the kill that is under way, with all that is checked at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use colophon_tests::soak::Soak;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

/// `--kills N --minutes N --life SECONDS --durability MODE --power-loss BOOL`, as `cargo xtask soak` has read them.
fn asked() -> Soak {
    let mut soak = Soak::default();
    let words: Vec<String> = std::env::args().skip(1).collect();
    for pair in words.chunks(2) {
        let [name, value] = pair else { panic!("{words:?}") };
        let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("{name} {value}"));
        match name.as_str() {
            "--kills" => soak.kills = number(),
            "--minutes" => soak.time = Duration::from_secs(60 * number()),
            "--life" => soak.life = Duration::from_secs(number()),
            "--power-loss" => soak.power_loss = value == "true",
            "--durability" => value.clone_into(&mut soak.durability),
            _ => panic!("{name}"),
        }
    }
    soak
}

fn main() {
    let soak = asked();
    let stop = stop_at_signal();
    let bar = ProgressBar::new(soak.kills);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} kills, {eta} left  {msg}");
    bar.set_style(style.expect("a template"));
    let done = soak.run(&|| stop.load(Ordering::Relaxed), &|done| {
        bar.set_length(soak.kills.max(done.kills));
        bar.set_position(done.kills);
        bar.set_message(format!("{} answers", done.whole + done.cut));
        if bar.is_hidden() && done.kills.is_multiple_of(soak.check_every) {
            eprintln!("{done}");
        }
    });
    bar.finish_and_clear();
    println!("durability {}: {done}: all there, one log, flat memory, no connection left", soak.durability);
}

/// Set by the first SIGINT or SIGTERM; the second ends the process.
fn stop_at_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be waited for");
            let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be waited for");
            for _ in 0..2 {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                eprintln!("\nends after this kill, with the checks; once more ends at once");
            }
        });
    });
    stop
}
