//! Counters of the processor and its memory controllers, through `perf_event_open`.

use std::io;

use crate::profile::sensor::{Absent, Text};

/// What to count, as the kernel numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// The unit that counts (`type`).
    pub(super) unit: u32,
    /// The event, and its filters.
    pub(super) config: [u64; 3],
}

impl Event {
    /// `PERF_TYPE_HARDWARE`.
    const HARDWARE: u32 = 0;
    /// `PERF_TYPE_RAW`.
    const RAW: u32 = 4;
    pub(super) const CYCLES: Self = Self { unit: Self::HARDWARE, config: [0, 0, 0] };
    pub(super) const INSTRUCTIONS: Self = Self { unit: Self::HARDWARE, config: [1, 0, 0] };
    pub(super) const CACHE_MISSES: Self = Self { unit: Self::HARDWARE, config: [3, 0, 0] };

    /// An event of the cores that only their maker names.
    pub(super) const fn raw(config: u64) -> Self {
        Self { unit: Self::RAW, config: [config, 0, 0] }
    }
}

/// Whose events to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Those of a thread and of the threads and processes it starts from now on, in user space.
    Thread(u32),
    /// Everybody's, at the unit to which this core belongs.
    Core(u32),
}

/// A counter that runs.
pub(super) trait Counter: Send {
    /// Events so far, scaled up to the whole time where the counter took turns.
    fn read(&mut self) -> Result<f64, Absent>;
}

/// Starts a counter: [`open`], or that of a test.
pub(super) type Open = dyn Fn(Event, Whose) -> io::Result<Box<dyn Counter>>;

/// Starts a counter.
///
/// # Errors
/// What the kernel says; [`refusal`] explains it.
#[cfg(target_os = "linux")]
pub(super) fn open(event: Event, whose: Whose) -> io::Result<Box<dyn Counter>> {
    use perf_event::events::Raw;
    use perf_event::{Builder, ReadFormat};

    struct Running(perf_event::Counter);

    impl Counter for Running {
        fn read(&mut self) -> Result<f64, Absent> {
            let counted = self.0.read_count_and_time().map_err(|e| Absent::because(format!("the counter stopped ({e})")))?;
            match (counted.time_running, counted.time_enabled) {
                (0, 0) => Ok(0.0),
                (0, _) => Err(Absent::because("others hold the hardware counters")),
                (running, enabled) => Ok(counted.count as f64 * (enabled as f64 / running as f64)),
            }
        }
    }

    let [config, config1, config2] = event.config;
    let mut builder = Builder::new(Raw::new(config).config1(config1).config2(config2));
    builder.attrs_mut().type_ = event.unit;
    // Groups with inheritance are refused by older kernels, so that each counter stands alone.
    builder.read_format(ReadFormat::TOTAL_TIME_ENABLED | ReadFormat::TOTAL_TIME_RUNNING).enabled(true);
    match whose {
        Whose::Thread(id) => builder.observe_pid(id.cast_signed()).any_cpu().inherit(true),
        // Units outside the cores cannot tell user from kernel and refuse to be asked.
        Whose::Core(core) => builder.any_pid().one_cpu(core as usize).include_kernel().include_hv(),
    };
    Ok(Box::new(Running(builder.build()?)))
}

/// Starts no counter.
///
/// # Errors
/// Always: this is not Linux.
#[cfg(not(target_os = "linux"))]
pub(super) fn open(_event: Event, _whose: Whose) -> io::Result<Box<dyn Counter>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Why the kernel refused, with the remedy.
pub(super) fn refusal(error: &io::Error, whose: Whose) -> Text {
    match (error.raw_os_error(), whose) {
        (Some(libc::EPERM | libc::EACCES), Whose::Thread(_)) => {
            "no permission; profile as the program's user with `sysctl kernel.perf_event_paranoid=2`, in a container `--cap-add PERFMON`"
                .into()
        }
        (Some(libc::EPERM | libc::EACCES), Whose::Core(_)) => {
            "no permission; run as root or with CAP_PERFMON, or `sysctl kernel.perf_event_paranoid=0`".into()
        }
        (Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV), _) => {
            "the processor shows no hardware counters, as in most virtual machines; run on the metal".into()
        }
        (Some(libc::EMFILE), _) => "too many open files; raise `ulimit -n`".into(),
        _ => format!("perf_event_open: {error}").into(),
    }
}

/// Counters that add up.
pub(super) struct Sum {
    counters: Vec<(Box<dyn Counter>, f64)>,
    high: f64,
}

impl Sum {
    /// Of counters, each with what one event is worth.
    pub(super) fn of(counters: Vec<(Box<dyn Counter>, f64)>) -> Self {
        Self { counters, high: 0.0 }
    }

    /// An event of every one of `threads`, worth `weight` each; those that ended in between are left out.
    ///
    /// # Errors
    /// The kernel refuses, or no thread is left.
    pub(super) fn over(threads: &[u32], event: Event, weight: f64, open: &Open) -> Result<Self, Absent> {
        let mut counters = Vec::with_capacity(threads.len());
        for &thread in threads {
            match open(event, Whose::Thread(thread)) {
                Ok(counter) => counters.push((counter, weight)),
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                Err(e) => return Err(Absent(refusal(&e, Whose::Thread(thread)))),
            }
        }
        if counters.is_empty() { Err(Absent::because("the process has ended")) } else { Ok(Self::of(counters)) }
    }

    /// The sum so far. Scaling moves a little from reading to reading; the sum never falls.
    pub(super) fn read(&mut self) -> Result<f64, Absent> {
        let sum = self.counters.iter_mut().try_fold(0.0, |sum, (counter, weight)| counter.read().map(|count| sum + count * *weight))?;
        self.high = self.high.max(sum);
        Ok(self.high)
    }
}

/// Counters for tests.
#[cfg(test)]
pub(super) mod fake {
    use super::*;

    /// Counts a fixed number of events per reading.
    pub(in super::super) struct Ticking {
        pub(in super::super) step: f64,
        pub(in super::super) now: f64,
    }

    impl Counter for Ticking {
        fn read(&mut self) -> Result<f64, Absent> {
            self.now += self.step;
            Ok(self.now)
        }
    }

    /// Refuses as the kernel would, with this number.
    pub(in super::super) fn refuses(number: i32) -> impl Fn(Event, Whose) -> io::Result<Box<dyn Counter>> {
        move |_, _| Err(io::Error::from_raw_os_error(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PERF_COUNT_SW_TASK_CLOCK`, which every kernel that lets us count at all has: nanoseconds of CPU.
    const TASK_CLOCK: Event = Event { unit: 1, config: [1, 0, 0] };

    #[test]
    fn a_counter_follows_a_program_into_its_children() {
        use std::io::{BufRead, BufReader, Write};
        let script = "read go; (head -c 4000000 /dev/zero | od -v > /dev/null); echo done; read end";
        let mut command = std::process::Command::new("sh");
        let mut child =
            command.args(["-c", script]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let opened = open(TASK_CLOCK, Whose::Thread(child.id()));
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let counted = opened.map(|mut counter| counter.read());
        child.kill().unwrap();
        child.wait().unwrap();
        match counted {
            Ok(nanoseconds) => assert!(nanoseconds.unwrap() > 1e7),
            // A container may forbid it; then there must be a remedy.
            Err(e) => assert!(refusal(&e, Whose::Thread(1)).contains("perf_event_paranoid"), "{e}"),
        }
    }

    #[test]
    fn an_ended_process_is_no_error_of_permission() {
        let ended = Sum::over(&[1, 2], Event::CYCLES, 1.0, &fake::refuses(libc::ESRCH));
        assert!(ended.err().unwrap().0.contains("ended"));
        let refused = Sum::over(&[1], Event::CYCLES, 1.0, &fake::refuses(libc::EACCES));
        assert!(refused.err().unwrap().0.contains("paranoid=2"));
    }
}
