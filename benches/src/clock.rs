//! Wall and CPU seconds of each phase.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Phases in the order in which they ran; displays as a JSON object.
#[derive(Default)]
pub struct Phases(Vec<Phase>);

struct Phase {
    name: &'static str,
    wall: Duration,
    cpu: Duration,
}

impl Phases {
    /// Run `work` and note its wall time and the CPU time of all threads of this process.
    pub fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (process_cpu(), Instant::now());
        let result = work();
        self.0.push(Phase { name, wall: wall.elapsed(), cpu: process_cpu().saturating_sub(cpu) });
        result
    }
}

impl Display for Phases {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("{")?;
        for (position, Phase { name, wall, cpu }) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
            write!(formatter, "{comma}\"{name}\":{{\"wall\":{wall:.6},\"cpu\":{cpu:.6}}}")?;
        }
        formatter.write_str("}")
    }
}

fn process_cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}
