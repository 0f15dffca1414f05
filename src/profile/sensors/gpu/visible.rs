//! Which GPUs a CUDA program sees: `CUDA_VISIBLE_DEVICES`.

/// What identifies a device (or an instance of a partitioned one) to CUDA.
pub(super) struct Identity {
    /// As NVML numbers it: in the order of the bus.
    pub(super) uuid: String,
    /// Of its instances.
    pub(super) instances: Vec<String>,
    /// Model name.
    pub(super) name: String,
}

/// Per device, whether a program sees it. CUDA ignores what follows an entry that names nothing.
///
/// `variable` is the value of `CUDA_VISIBLE_DEVICES`, `bus_order` whether `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`. Otherwise CUDA
/// numbers the fastest first, which agrees with the bus only where all are of one model; where it may not, all are taken.
pub(super) fn visible(variable: Option<&str>, bus_order: bool, devices: &[Identity]) -> Vec<bool> {
    let Some(variable) = variable else { return vec![true; devices.len()] };
    let mut seen = vec![false; devices.len()];
    for entry in variable.split(',').map(str::trim) {
        let found = if entry.starts_with("GPU-") {
            devices.iter().position(|device| device.uuid.starts_with(entry))
        } else if entry.starts_with("MIG-") {
            devices.iter().position(|device| device.instances.iter().any(|uuid| uuid.starts_with(entry)))
        } else {
            if !bus_order && devices.iter().any(|device| device.name != devices[0].name) {
                return vec![true; devices.len()];
            }
            entry.parse().ok().filter(|index| *index < devices.len())
        };
        match found {
            Some(index) => seen[index] = true,
            None => break,
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_uuids_and_instances_name_devices_and_the_rest_of_the_list_after_a_mistake_counts_for_nothing() {
        let device = |uuid: &str, name: &str| Identity { uuid: uuid.into(), instances: vec![format!("MIG-{uuid}")], name: name.into() };
        let same = [device("GPU-aa", "H200"), device("GPU-ab", "H200"), device("GPU-c", "H200")];
        let sees = |variable| visible(Some(variable), false, &same);
        assert_eq!(visible(None, false, &same), [true; 3]);
        assert_eq!(sees("2,0"), [true, false, true]);
        assert_eq!(sees("GPU-ab"), [false, true, false]);
        assert_eq!(sees("MIG-GPU-c"), [false, false, true]);
        assert_eq!(sees(""), [false; 3]);
        assert_eq!(sees("-1"), [false; 3]);
        assert_eq!(sees("1,7,0"), [false, true, false]);
        let mixed = [device("GPU-a", "T4"), device("GPU-b", "H200")];
        assert_eq!(visible(Some("0"), false, &mixed), [true, true], "CUDA calls the H200 0, unless told otherwise");
        assert_eq!(visible(Some("0"), true, &mixed), [true, false]);
    }
}
