//! The devices that tensors can be computed on, by name. A new device is a crate that implements
//! [`tenfold_tensor::Backend`] and one line of [`DEVICES`].

use crate::error::{Error, Result};
use crate::model::Model;
use std::sync::Arc;
use tenfold_tensor::{Backend, Cpu, Reference};

/// A device.
#[derive(Debug)]
pub struct Device {
    /// What `device` of a study and `--device` of a command call it.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    make: fn() -> Arc<dyn Backend>,
}

/// All devices, the usual one first.
pub const DEVICES: &[Device] = &[
    Device { name: "cpu", about: "the processor's vector units, on all threads", make: Cpu::new },
    Device { name: "reference", about: "plain loops with 64-bit sums, for comparison", make: Reference::new },
];

impl Device {
    /// A backend of this device, with an account of memory of its own. Backends of one device read each other's buffers.
    pub fn backend(&self) -> Arc<dyn Backend> {
        (self.make)()
    }
}

/// The device of that name; an error names those that there are.
pub fn device(name: &str) -> Result<&'static Device> {
    let device = DEVICES.iter().find(|device| device.name == name);
    device.ok_or_else(|| Error::unknown("device", name, DEVICES.iter().map(|device| device.name)))
}

/// Another backend of the device that a model is on, with an account of its own.
pub fn beside(model: &dyn Model) -> Result<Arc<dyn Backend>> {
    Ok(device(model.word_embeddings().tensor.backend().name())?.backend())
}

/// The device that is taken where none is asked for.
pub fn usual() -> &'static Device {
    &DEVICES[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_found_by_its_name_and_an_unknown_one_is_told_them() {
        for known in DEVICES {
            assert_eq!(device(known.name).unwrap().backend().name(), known.name);
        }
        let error = device("cuda").err().unwrap().to_string();
        assert!(
            error.contains("\"cuda\"") && error.contains("cpu") && error.contains("reference"),
            "{error}"
        );
    }
}
