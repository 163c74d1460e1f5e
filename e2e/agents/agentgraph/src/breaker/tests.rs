use super::*;
use crate::failure::Kind;

const SETTINGS: Settings = Settings {
    failure_rate_threshold_percent: 50,
    wait_duration_in_open_state_seconds: 30,
    sliding_window_seconds: 60,
    minimum_number_of_calls: 4,
    permitted_calls_in_half_open_state: 2,
};
const FAILED: Result<(), Failure> = Err(Failure::Upstream(Kind::Broken));

/// A breaker and a clock.
struct Stage {
    breaker: Breaker,
    metrics: Arc<Metrics>,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new(), "agent").unwrap());
        let (breaker, now) = (Breaker::new(metrics.clone()), Instant::now());
        breaker.retune(SETTINGS, now);
        Self { breaker, metrics, now }
    }

    /// A run of one call.
    fn run(&self, result: &Result<(), Failure>) -> Result<(), Duration> {
        let kept = self.breaker.reserve(self.now)?;
        self.call(&kept, result)
    }

    fn call(&self, kept: &Reservation, result: &Result<(), Failure>) -> Result<(), Duration> {
        self.breaker.begin(kept, self.now)?.end(kept, result, self.now);
        Ok(())
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn state(&self) -> State {
        self.breaker.state(self.now)
    }

    fn opened() -> Self {
        let stage = Self::new();
        for _ in 0..4 {
            stage.run(&FAILED).unwrap();
        }
        assert_eq!(stage.state(), State::Open);
        stage
    }
}

#[test]
fn failures_open_the_breaker_and_good_trials_close_it() {
    let mut stage = Stage::new();
    for result in [Ok(()), Ok(()), FAILED] {
        stage.run(&result).unwrap();
    }
    assert_eq!(stage.state(), State::Closed, "fewer than the minimum");
    stage.run(&FAILED).unwrap();
    assert_eq!(stage.run(&Ok(())), Err(Duration::from_secs(30)));
    stage.wait(30);
    assert_eq!(stage.state(), State::HalfOpen);
    let first = stage.breaker.reserve(stage.now).unwrap();
    stage.run(&Ok(())).unwrap();
    assert!(stage.breaker.check(stage.now).is_err(), "a third trial is admitted");
    stage.call(&first, &Ok(())).unwrap();
    assert_eq!(stage.state(), State::Closed);
    assert_eq!(stage.metrics.upstream_calls("failure"), 2);
}

#[test]
fn a_failed_trial_opens_it_again_and_a_retune_shortens_the_wait() {
    let mut stage = Stage::opened();
    stage.wait(30);
    stage.run(&FAILED).unwrap();
    assert_eq!(stage.state(), State::Open);
    stage.breaker.retune(Settings { wait_duration_in_open_state_seconds: 1, ..SETTINGS }, stage.now);
    stage.wait(1);
    assert_eq!(stage.state(), State::HalfOpen);
}

#[test]
fn a_trial_that_nobody_uses_goes_to_others() {
    let mut stage = Stage::opened();
    stage.wait(30);
    let _kept = [stage.breaker.reserve(stage.now).unwrap(), stage.breaker.reserve(stage.now).unwrap()];
    assert!(stage.breaker.check(stage.now).is_err(), "more trials than permitted");
    stage.now += TRIAL_KEPT;
    assert_eq!(stage.breaker.check(stage.now), Ok(()));
}

#[test]
fn a_run_that_was_answered_finishes_beyond_the_permitted_trials() {
    let mut stage = Stage::opened();
    stage.wait(30);
    let one = stage.breaker.reserve(stage.now).unwrap();
    let _other = stage.breaker.reserve(stage.now).unwrap();
    stage.call(&one, &Ok(())).unwrap();
    assert!(stage.breaker.begin(&one, stage.now).is_ok(), "its second call");
}

#[test]
fn what_says_nothing_about_the_upstream_counts_neither_way() {
    let stage = Stage::new();
    for _ in 0..10 {
        stage.run(&Err(Failure::Other("400".to_owned()))).unwrap();
    }
    assert_eq!(stage.state(), State::Closed);
    assert_eq!(stage.metrics.upstream_calls("failure") + stage.metrics.upstream_calls("success"), 0);
}

#[test]
fn a_cancelled_trial_is_given_back() {
    let mut stage = Stage::opened();
    stage.wait(30);
    let kept = [stage.breaker.reserve(stage.now).unwrap(), stage.breaker.reserve(stage.now).unwrap()];
    drop(stage.breaker.begin(&kept[0], stage.now));
    stage.breaker.cancel(&kept[0]);
    assert!(stage.breaker.reserve(stage.now).is_ok());
    assert!(stage.breaker.reserve(stage.now).is_err(), "one trial came back, not two");
}

#[test]
fn old_calls_leave_the_window() {
    let mut stage = Stage::new();
    for _ in 0..3 {
        stage.run(&FAILED).unwrap();
    }
    stage.wait(60);
    stage.run(&FAILED).unwrap();
    assert_eq!(stage.state(), State::Closed);
}
