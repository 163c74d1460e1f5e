use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, io, thread};

use prometheus::{IntCounter, IntGauge, Registry};

use crate::settings::{Broken, Settings, Tuning, parse};

const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Of `tuning.json` and the native file: the content, or why it could not be read.
type Contents = [Option<Vec<u8>>; 2];
type Apply<N> = dyn FnMut(&Settings, Option<&N>) -> InForce + Send;

/// The settings file of the agent's own framework, which stands beside `tuning.json`; `N` is what it says.
pub struct Native<N> {
    /// Name of the file.
    pub name: &'static str,
    /// How to read it; an error leaves the last good settings in force.
    pub parse: fn(&[u8]) -> Result<N, Broken>,
}

/// What became of settings that an agent was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InForce {
    /// All of them are in force: their generation is reported.
    All,
    /// Some of them only a start reads. Their generation is not reported until a new process has read them.
    AfterRestart,
}

/// Applies the settings of a directory whenever they change.
///
/// It opens the files by their paths four times a second and compares contents: cheap, in need of no inotify, and not
/// fooled by the swap of the symlink `..data` in a ConfigMap volume, which silences a watch on a file.
pub struct Watcher<N> {
    directory: PathBuf,
    defaults: Settings,
    native: Option<Native<N>>,
    apply: Box<Apply<N>>,
    generation: IntGauge,
    errors: IntCounter,
    seen: Contents,
}

impl<N> Watcher<N> {
    /// Prepares a watcher and registers `agent_tuning_applied_generation` and `agent_tuning_errors_total`.
    ///
    /// Without a directory it looks where `AGENTSCALER_SETTINGS_DIR` points, else in `/etc/agentscaler`. `apply` gets
    /// the settings of both files together and returns when they are in force; `None`: there is no native file.
    ///
    /// # Errors
    /// The registry has one of the two metrics already.
    pub fn new(
        directory: Option<PathBuf>,
        defaults: Settings,
        native: Option<Native<N>>,
        registry: &Registry,
        apply: impl FnMut(&Settings, Option<&N>) -> InForce + Send + 'static,
    ) -> Result<Self, prometheus::Error> {
        let help = "Generation of the settings in force; 0: no file was applied yet.";
        let generation = IntGauge::new("agent_tuning_applied_generation", help)?;
        let help = "Settings files that could not be read or broke the schema, once for each broken content.";
        let errors = IntCounter::new("agent_tuning_errors_total", help)?;
        registry.register(Box::new(generation.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        let configured = || env::var_os("AGENTSCALER_SETTINGS_DIR").filter(|value| !value.is_empty());
        let directory = directory.unwrap_or_else(|| configured().unwrap_or_else(|| "/etc/agentscaler".into()).into());
        Ok(Self { directory, defaults, native, apply: Box::new(apply), generation, errors, seen: [None, None] })
    }

    /// Polls for as long as the process lives: give it a thread.
    pub fn run(mut self) -> ! {
        loop {
            self.poll();
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Applies what is new; call it once before the agent serves. What is missing or has not changed changes nothing.
    /// If one of the two files is broken, neither is applied: they belong together.
    pub fn poll(&mut self) {
        let (contents, readable) = self.read();
        if contents == self.seen {
            return;
        }
        let outcome = readable.and_then(|()| self.parse(&contents));
        self.seen = contents;
        match outcome {
            Ok((tuning, native)) => self.put_in_force(&tuning, native.as_ref()),
            Err(error) => {
                self.errors.inc();
                log::error!("the settings are broken, the last good ones stay: {error}");
            }
        }
    }

    fn parse(&self, [common, own]: &Contents) -> Result<(Tuning, Option<N>), Broken> {
        let tuning = match common {
            Some(content) => parse(content, &self.defaults)?,
            None => Tuning { settings: self.defaults, ..Tuning::default() },
        };
        let native = self.native.as_ref().zip(own.as_ref());
        Ok((tuning, native.map(|(native, content)| (native.parse)(content)).transpose()?))
    }

    fn put_in_force(&mut self, tuning: &Tuning, native: Option<&N>) {
        if !tuning.unknown.is_empty() {
            log::warn!("tuning.json has keys that this agent does not know: {}", tuning.unknown.join(", "));
        }
        match (self.apply)(&tuning.settings, native) {
            InForce::All => {
                self.generation.set(tuning.generation as i64); // below 2^53. Last: it says that all of them are in force
                log::info!("settings of generation {} are in force", tuning.generation);
            }
            InForce::AfterRestart => log::warn!("settings of generation {} need a restart", tuning.generation),
        }
    }

    /// The contents of one moment: where `..data` is swapped between the two files, it begins again.
    fn read(&self) -> (Contents, Result<(), Broken>) {
        let data = self.directory.join("..data");
        let names = [Some("tuning.json"), self.native.as_ref().map(|native| native.name)];
        let mut attempt = 1;
        loop {
            let before = fs::read_link(&data).ok();
            let mut contents = self.seen.clone(); // the mount is optional, and a file that goes away changes nothing
            let mut readable = Ok(());
            for (content, name) in contents.iter_mut().zip(names) {
                match name.map(|name| fs::read(self.directory.join(name))) {
                    Some(Ok(found)) => *content = Some(found),
                    Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                        *content = Some(error.to_string().into_bytes());
                        readable = Err(error.into());
                    }
                    _ => {}
                }
            }
            if attempt == 3 || fs::read_link(&data).ok() == before {
                return (contents, readable);
            }
            attempt += 1;
        }
    }
}
