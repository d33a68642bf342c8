//! The longest turn of each kind, under the pool's lock, with many callers and many connections.
//!
//! `cargo run --release -p pool-core --example steps --features testing [callers [connections]]`

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let callers = arguments.next().unwrap_or(100_000);
    let connections = arguments.next().unwrap_or(10_000);
    println!("{callers} callers, {connections} connections; the longest turn of each kind:");
    for (step, took) in pool_core::testing::longest_turns(callers, connections as u32) {
        println!("{:>10.1} µs  {step}", took.as_secs_f64() * 1e6);
    }
}
