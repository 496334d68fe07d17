use super::*;

#[test]
fn server_timing_is_milliseconds_with_three_digits_behind_the_point() {
    let told = |own, upstream, client| {
        let mut headers = HeaderMap::new();
        let [own, upstream, client] = [own, upstream, client].map(Duration::from_nanos);
        Timing { own, upstream, client }.tell(&mut headers);
        headers.get(SERVER_TIMING).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(told(325_999, 0, 0), "colophon;dur=0.325");
    assert_eq!(told(0, 1_000, 0), "colophon;dur=0.000, upstream;dur=0.001");
    assert_eq!(
        told(12_034_000_000, 50_000_000, 7_006_000),
        "colophon;dur=12034.000, upstream;dur=50.000, client;dur=7.006"
    );
}
