//! A directory of settings, written as the kubelet writes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use agentscaler_tuning::{InForce, Native, Settings, Watcher, Workers};
use prometheus::Registry;
use tempfile::TempDir;

const DEFAULTS: Settings = Settings {
    workers: Workers { max_concurrent: 3 },
    cache: agentscaler_tuning::Cache { max_bytes: 1000, ttl_seconds: 60 },
    circuit_breaker: agentscaler_tuning::CircuitBreaker {
        failure_rate_threshold_percent: 40,
        wait_duration_in_open_state_seconds: 30,
        sliding_window_seconds: 60,
        minimum_number_of_calls: 10,
        permitted_calls_in_half_open_state: 2,
    },
};

/// Workers, what the native file says, and the generation that was reported when they were given.
type Applied = (u64, Option<String>, i64);

struct Stage {
    directory: TempDir,
    watcher: Watcher<String>,
    applied: Receiver<Applied>,
    registry: Registry,
    version: u32,
    generation: i64,
}

impl Stage {
    fn new() -> Self {
        let (directory, registry) = (TempDir::new().unwrap(), Registry::new());
        let (give, applied) = mpsc::channel();
        let native = Native {
            name: "native.txt",
            parse: |content| match String::from_utf8_lossy(content) {
                text if text.contains("broken") => Err("it says so".into()),
                text => Ok(text.into_owned()),
            },
        };
        let reports = registry.clone();
        let apply = move |settings: &Settings, native: Option<&String>| {
            let generation = number(&reports, "agent_tuning_applied_generation");
            give.send((settings.workers.max_concurrent, native.cloned(), generation)).unwrap();
            if native.is_some_and(|text| text.contains("restart")) { InForce::AfterRestart } else { InForce::All }
        };
        let path = Some(directory.path().to_owned());
        let watcher = Watcher::new(path, DEFAULTS, Some(native), &registry, apply).unwrap();
        Self { directory, watcher, applied, registry, version: 0, generation: 0 }
    }

    /// Writes a ConfigMap volume as the kubelet does: a new directory, and `..data` swapped over to it.
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.version += 1;
        let root = self.directory.path();
        let name = format!("..version_{}", self.version);
        fs::create_dir(root.join(&name)).unwrap();
        for (file, content) in files {
            fs::write(root.join(&name).join(file), content).unwrap();
            let _ = symlink(Path::new("..data").join(file), root.join(file));
        }
        let old = fs::read_link(root.join("..data")).ok();
        symlink(name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(root.join(old)).unwrap();
        }
    }

    /// Polls once and compares what was applied (`None`: nothing), the generation reported and the errors counted.
    fn expect(&mut self, wanted: Option<(u64, Option<&str>)>, generation: i64, errors: i64) {
        self.watcher.poll();
        let wanted = wanted.map(|(workers, native)| (workers, native.map(str::to_owned), self.generation));
        assert_eq!(self.applied.try_recv().ok(), wanted);
        assert_eq!(number(&self.registry, "agent_tuning_applied_generation"), generation);
        assert_eq!(number(&self.registry, "agent_tuning_errors_total"), errors);
        self.generation = generation;
    }
}

fn number(registry: &Registry, name: &str) -> i64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    let metric = &family.get_metric()[0];
    (metric.get_gauge().get_value() + metric.get_counter().get_value()) as i64
}

fn tuning(generation: u32, workers: u32) -> String {
    format!(r#"{{"generation": {generation}, "workers": {{"maxConcurrent": {workers}}}}}"#)
}

#[test]
fn each_swap_of_a_configmap_volume_is_applied_once_and_whole() {
    let mut stage = Stage::new();
    stage.expect(None, 0, 0);
    for generation in 1..=3 {
        let native = generation.to_string();
        stage.swap(&[("tuning.json", &tuning(generation, 10 * generation)), ("native.txt", &native)]);
        stage.expect(Some((u64::from(10 * generation), Some(&native))), generation.into(), 0);
        stage.expect(None, generation.into(), 0);
    }
}

#[test]
fn a_broken_file_of_the_two_changes_nothing_and_counts_once() {
    let mut stage = Stage::new();
    stage.swap(&[("tuning.json", &tuning(1, 5)), ("native.txt", "good")]);
    stage.expect(Some((5, Some("good"))), 1, 0);
    stage.swap(&[("tuning.json", &tuning(2, 6)), ("native.txt", "broken")]);
    stage.expect(None, 1, 1);
    stage.expect(None, 1, 1);
    stage.swap(&[("tuning.json", "{"), ("native.txt", "good")]);
    stage.expect(None, 1, 2);
    stage.swap(&[("tuning.json", &tuning(3, 7)), ("native.txt", "better")]);
    stage.expect(Some((7, Some("better"))), 3, 2);
}

#[test]
fn a_generation_is_not_reported_while_a_part_of_it_needs_a_restart() {
    let mut stage = Stage::new();
    stage.swap(&[("tuning.json", &tuning(1, 5)), ("native.txt", "good")]);
    stage.expect(Some((5, Some("good"))), 1, 0);
    stage.swap(&[("tuning.json", &tuning(2, 6)), ("native.txt", "restart")]);
    stage.expect(Some((6, Some("restart"))), 1, 0);
    stage.swap(&[("tuning.json", &tuning(3, 6)), ("native.txt", "good")]);
    stage.expect(Some((6, Some("good"))), 3, 0);
}

#[test]
fn a_file_that_goes_away_changes_nothing() {
    let mut stage = Stage::new();
    stage.swap(&[("tuning.json", &tuning(1, 5)), ("native.txt", "good")]);
    stage.expect(Some((5, Some("good"))), 1, 0);
    stage.swap(&[("tuning.json", &tuning(2, 6))]);
    stage.expect(Some((6, Some("good"))), 2, 0);
    fs::remove_dir_all(stage.directory.path()).unwrap();
    stage.expect(None, 2, 0);
}

#[test]
fn a_file_that_cannot_be_read_is_told_once_and_recovers() {
    let mut stage = Stage::new();
    let path = stage.directory.path().join("tuning.json");
    fs::create_dir(&path).unwrap();
    stage.expect(None, 0, 1);
    stage.expect(None, 0, 1);
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "").unwrap();
    stage.expect(None, 0, 2); // empty is broken, and not missing
    fs::write(&path, tuning(4, 9)).unwrap();
    stage.expect(Some((9, None)), 4, 2);
}

#[test]
fn the_native_file_alone_is_enough() {
    let mut stage = Stage::new();
    fs::write(stage.directory.path().join("native.txt"), "by hand").unwrap();
    stage.expect(Some((DEFAULTS.workers.max_concurrent, Some("by hand"))), 0, 0);
}

#[test]
fn run_follows_a_directory_that_appears_later() {
    let mut stage = Stage::new();
    fs::remove_dir(stage.directory.path()).unwrap();
    let path = Some(stage.directory.path().to_owned());
    let (give, applied) = mpsc::channel();
    let watcher = Watcher::<()>::new(path, DEFAULTS, None, &Registry::new(), move |settings, _| {
        give.send(settings.workers.max_concurrent).unwrap();
        InForce::All
    });
    std::thread::spawn(|| watcher.unwrap().run());
    fs::create_dir(stage.directory.path()).unwrap();
    stage.swap(&[("tuning.json", &tuning(1, 5))]);
    assert_eq!(applied.recv_timeout(Duration::from_secs(60)), Ok(5));
}
