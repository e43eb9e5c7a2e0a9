//! Small safetensors files, read and written whole: adapters and training state.

use super::header::Dtype;
use super::map_file;
use super::stream::{Entry, Layout};
use crate::{Error, Result, atomic};
use std::collections::BTreeMap;
use std::path::Path;

/// A tensor in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
    /// Its numbers, row by row; as many as the shape says.
    pub data: Vec<f32>,
}

/// All tensors of a safetensors file, as f32.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, HostTensor>> {
    read_tensors_and_metadata(path).map(|(tensors, _)| tensors)
}

/// The same, with the words that the writer left in the header.
pub fn read_tensors_and_metadata(
    path: &Path,
) -> Result<(BTreeMap<String, HostTensor>, BTreeMap<String, String>)> {
    let (metadata, views) = map_file(path)?;
    let host = |(name, view): (String, super::View)| {
        let data = view.to_f32();
        (name, HostTensor { shape: view.shape, data })
    };
    Ok((views.into_iter().map(host).collect(), metadata))
}

/// Writes a safetensors file of f32 in one step: either the old file stays or the whole new one stands in its place.
/// Equal tensors and metadata give equal bytes.
pub fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<String, HostTensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut entries = Vec::new();
    for (name, tensor) in tensors {
        let entry = Entry { name: name.clone(), dtype: Dtype::F32, shape: tensor.shape.clone() };
        if entry.bytes() != Some(tensor.data.len() * size_of::<f32>()) {
            let expected = format!("as many numbers as shape {:?} has", tensor.shape);
            let found = tensor.data.len().to_string();
            return Err(Error::malformed(path, format!("tensor {name}"), expected, found));
        }
        entries.push(entry);
    }
    // All are of one width and so in the order of their names.
    let layout = Layout::new(path, entries, metadata)?;
    atomic::write_with(path, |file| {
        file.write_all(&layout.head)?;
        tensors
            .values()
            .flat_map(|tensor| &tensor.data)
            .try_for_each(|number| file.write_all(&number.to_le_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tensors() -> BTreeMap<String, HostTensor> {
        let tensor =
            |shape: &[usize], data: &[f32]| HostTensor { shape: shape.to_vec(), data: data.to_vec() };
        BTreeMap::from([
            ("b.weight".into(), tensor(&[2, 3], &[1., -2., 3.5, f32::MIN_POSITIVE, 0., -0.])),
            ("a".into(), tensor(&[], &[7.])),
            ("none".into(), tensor(&[0, 4], &[])),
        ])
    }

    #[test]
    fn what_is_written_is_read_again_here_and_by_the_safetensors_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter_model.safetensors");
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write_tensors(&path, &tensors(), &metadata).unwrap();
        assert_eq!(read_tensors(&path).unwrap(), tensors());

        let bytes = fs::read(&path).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.len(), 3);
        assert_eq!(theirs.tensor("a").unwrap().data(), 7f32.to_le_bytes());
        assert_eq!(theirs.tensor("b.weight").unwrap().shape(), [2, 3]);
        write_tensors(&path, &tensors(), &metadata).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_of_the_safetensors_library_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let (half, long) = ([0x00, 0x3c, 0x00, 0xc0], 5i64.to_le_bytes());
        let view =
            |dtype, shape: &[usize], data| safetensors::tensor::TensorView::new(dtype, shape.to_vec(), data);
        let views = [
            ("half", view(safetensors::Dtype::F16, &[2], &half[..]).unwrap()),
            ("long", view(safetensors::Dtype::I64, &[1, 1], &long[..]).unwrap()),
        ];
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let read = read_tensors(&path).unwrap();
        assert_eq!((read["half"].data.as_slice(), read["long"].data.as_slice()), (&[1., -2.][..], &[5.][..]));
        assert_eq!(read["long"].shape, [1, 1]);
    }

    #[test]
    fn a_shape_that_does_not_fit_is_refused_and_the_old_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write_tensors(&path, &tensors(), &BTreeMap::new()).unwrap();
        let wrong = BTreeMap::from([("a".to_owned(), HostTensor { shape: vec![2], data: vec![0.] })]);
        assert!(write_tensors(&path, &wrong, &BTreeMap::new()).is_err());
        assert_eq!(read_tensors(&path).unwrap(), tensors());
        let nowhere = folder.path().join("no/such/x.safetensors");
        assert!(
            write_tensors(&nowhere, &tensors(), &BTreeMap::new())
                .unwrap_err()
                .to_string()
                .contains("cannot write")
        );
    }
}
