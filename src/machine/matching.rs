//! Which of NVML's GPUs is `cuda:N`. CUDA numbers the GPUs that `CUDA_VISIBLE_DEVICES` names, in
//! its order; NVML numbers all of them. Pure functions; must not know readings.

use super::nvml::Identity;

/// Each `cuda:N` and its index in NVML's list, by the UUIDs that the CUDA driver gives its devices.
pub fn match_by_uuid(cuda: &[(String, String)], nvml: &[Identity]) -> Vec<(String, usize)> {
    let index = |uuid: &str| {
        nvml.iter()
            .position(|gpu| gpu.uuid.eq_ignore_ascii_case(uuid))
    };
    cuda.iter()
        .filter_map(|(name, uuid)| Some((name.clone(), index(uuid)?)))
        .collect()
}

/// The same where the driver is not asked, as for a command that trains on GPUs. It follows CUDA's
/// rules for `CUDA_VISIBLE_DEVICES`: a list of numbers (in the order of PCI bus ids) and of UUIDs or
/// unique prefixes of them. The first entry that is no GPU hides itself and all that follow; a GPU
/// named twice hides all. None: all are visible.
pub fn match_by_variable(visible: Option<&str>, nvml: &[Identity]) -> Vec<(String, usize)> {
    let mut order: Vec<usize> = (0..nvml.len()).collect();
    order.sort_by_key(|&index| nvml[index].pci_bus_id.to_ascii_lowercase());
    let chosen: Vec<usize> = match visible {
        None => order,
        Some(list) => list
            .split(',')
            .map_while(|entry| one(entry.trim(), &order, nvml))
            .collect(),
    };
    let repeated = chosen
        .iter()
        .enumerate()
        .any(|(at, index)| chosen[..at].contains(index));
    if repeated {
        Vec::new()
    } else {
        chosen
            .into_iter()
            .enumerate()
            .map(|(n, index)| (format!("cuda:{n}"), index))
            .collect()
    }
}

fn one(entry: &str, order: &[usize], nvml: &[Identity]) -> Option<usize> {
    if let Ok(number) = entry.parse::<usize>() {
        return order.get(number).copied();
    }
    let prefix = entry.to_ascii_lowercase();
    let mut found = (0..nvml.len()).filter(|&index| {
        prefix.starts_with("gpu-") && nvml[index].uuid.to_ascii_lowercase().starts_with(&prefix)
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Identity> {
        let gpu = |uuid: &str, bus: &str| Identity {
            uuid: uuid.into(),
            pci_bus_id: bus.into(),
            model: "H".into(),
        };
        vec![
            gpu("GPU-aaaa1111-0000", "00000000:1B:00.0"),
            gpu("GPU-aabb2222-0000", "00000000:43:00.0"),
            gpu("GPU-cccc3333-0000", "00000000:C1:00.0"),
        ]
    }

    fn indices(matched: &[(String, usize)]) -> Vec<usize> {
        matched
            .iter()
            .enumerate()
            .for_each(|(n, (name, _))| assert_eq!(name, &format!("cuda:{n}")));
        matched.iter().map(|(_, index)| *index).collect()
    }

    #[test]
    fn permuted_visible_devices_follow_cuda_s_rules() {
        let cases: &[(Option<&str>, &[usize])] = &[
            (None, &[0, 1, 2]),
            (Some(""), &[]),
            (Some("2,0"), &[2, 0]),
            (Some(" 1 , 2 "), &[1, 2]),
            (Some("GPU-cccc3333-0000,GPU-aaaa1111-0000"), &[2, 0]),
            (Some("GPU-cccc,1"), &[2, 1]),
            (Some("GPU-aaa"), &[0]),
            // A prefix of two UUIDs, a number too large, -1: all that follows is hidden.
            (Some("1,GPU-aa,0"), &[1]),
            (Some("0,7,1"), &[0]),
            (Some("1,-1,0"), &[1]),
            (Some("NoDevFiles"), &[]),
            // One GPU twice: CUDA shows none.
            (Some("0,1,0"), &[]),
            (Some("0,GPU-aaaa"), &[]),
        ];
        for (visible, expected) in cases {
            assert_eq!(
                indices(&match_by_variable(*visible, &three())),
                *expected,
                "CUDA_VISIBLE_DEVICES={visible:?}"
            );
        }
    }

    #[test]
    fn numbers_count_pci_bus_ids_however_nvml_lists_them() {
        let mut gpus = three();
        gpus.swap(0, 2);
        assert_eq!(indices(&match_by_variable(Some("0,2"), &gpus)), [2, 0]);
    }

    #[test]
    fn uuids_from_the_driver_decide_where_it_can_be_asked() {
        let cuda = |n: usize, uuid: &str| (format!("cuda:{n}"), uuid.to_owned());
        let matched = match_by_uuid(
            &[cuda(0, "GPU-CCCC3333-0000"), cuda(1, "GPU-aaaa1111-0000")],
            &three(),
        );
        assert_eq!(indices(&matched), [2, 0]);
        assert!(match_by_uuid(&[cuda(0, "GPU-unknown")], &three()).is_empty());
    }
}
