//! The example of the README.

use std::path::PathBuf;

use agentscaler_tuning::{Cache, InForce, Settings, Watcher, Workers};

fn main() -> Result<(), prometheus::Error> {
    let defaults = Settings {
        workers: Workers { max_concurrent: 8 },
        cache: Cache { max_bytes: 64 << 20, ttl_seconds: 900 },
        ..Settings::default() // leave out what your agent does not have
    };
    let apply = |settings: &Settings, _: Option<&()>| {
        println!("workers: {}", settings.workers.max_concurrent); // here: resize your pool
        InForce::All
    };
    apply(&defaults, None);
    let directory = Some(PathBuf::from("examples/settings")); // None: where the operator's ConfigMap is mounted
    let mut watcher = Watcher::new(directory, defaults, None, prometheus::default_registry(), apply)?;
    watcher.poll(); // what is there already, before the first run
    // std::thread::spawn(|| watcher.run()), and serve prometheus::gather() at /metrics
    Ok(())
}
