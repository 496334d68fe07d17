use super::*;

fn mapped(start: u64, file: &str) -> Mapping {
    Mapping { start, end: start + 0x1000, offset: 0, file: file.into() }
}

#[test]
fn the_handlers_own_frames_are_left_out() {
    let mappings = [mapped(0x1000, "colophon"), mapped(0x8000, "libc")];
    // Two of the handler, the C library's, then what was interrupted: in the program, or in the library.
    assert_eq!(interrupted(&mappings, &[0x1001, 0x1002, 0x8001, 0x1100, 0x1200]), [0x1100, 0x1200]);
    assert_eq!(interrupted(&mappings, &[0x1001, 0x8001, 0x8100, 0x1200]), [0x8100, 0x1200]);
    // A program without a library of its own: nothing is taken away on a guess.
    assert_eq!(interrupted(&mappings, &[0x1001, 0x1002]), [0x1001, 0x1002]);
    assert_eq!(interrupted(&mappings, &[]), [0; 0]);
}

#[test]
fn a_stack_is_told_once_with_its_file_and_its_time() {
    let mut making = Making::new(vec![mapped(0x1000, "colophon"), mapped(0x8000, "libc")]);
    making.sample(&[0x1001, 0x8001, 0x1100, 0x1201], 3, 10, "worker");
    making.sample(&[0x1001, 0x8001, 0x1100, 0x1201], 1, 10, "worker");
    let profile = Profile::decode(&*making.profile.encode_to_vec()).unwrap();
    let addresses: Vec<_> =
        profile.location.iter().map(|one| (one.id, one.mapping_id, one.address)).collect();
    assert_eq!(addresses, [(1, 1, 0x1100), (2, 1, 0x1200)], "a caller is where it called from");
    assert_eq!(profile.sample[0].location_id, [1, 2]);
    assert_eq!((&*profile.sample[0].value, &*profile.sample[1].value), (&[3, 30][..], &[1, 10][..]));
    assert_eq!(profile.string_table, ["", "colophon", "libc", "thread", "worker"]);
    let label = &profile.sample[0].label[0];
    assert_eq!((label.key, label.text), (3, 4));
    assert_eq!(profile.mapping[1].memory_start, 0x8000);
}

#[test]
fn an_address_of_this_program_has_its_name() {
    let mut making = Making::new(own().unwrap());
    let here = an_address_of_this_program_has_its_name as fn() as usize as u64;
    let id = making.location(here + 1);
    assert_eq!(making.location(here + 1), id);
    let profile = making.profile;
    let named = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
    assert!(
        profile
            .function
            .iter()
            .any(|one| named(one.name).ends_with("an_address_of_this_program_has_its_name"))
    );
    assert!(profile.mapping.iter().any(|one| one.has_functions));
}
