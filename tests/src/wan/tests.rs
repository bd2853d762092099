use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// Echoes datagrams and streams; tells from where the last datagram came.
struct Echo {
    udp: SocketAddr,
    tcp: SocketAddr,
    last_from: watch::Receiver<Option<SocketAddr>>,
    _tasks: JoinSet<()>,
}

async fn echo() -> Echo {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let (seen, last_from) = watch::channel(None);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut bytes = [0; 2_000];
        while let Ok((length, from)) = udp.recv_from(&mut bytes).await {
            seen.send_replace(Some(from));
            udp.send_to(&bytes[..length], from).await.unwrap();
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let (mut read, mut write) = stream.split();
            drop(tokio::io::copy(&mut read, &mut write).await);
        }
    });
    Echo {
        udp: addresses.0,
        tcp: addresses.1,
        last_from,
        _tasks: tasks,
    }
}

async fn network(echo: &Echo) -> (Wan, UdpSocket) {
    let wan = Wan::start(1, echo.udp, echo.tcp).await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(wan.quic()).await.unwrap();
    (wan, socket)
}

async fn answer(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = [0; 2_000];
    let received = tokio::time::timeout(DEADLINE, socket.recv(&mut bytes)).await;
    bytes[..received.unwrap().unwrap()].to_vec()
}

#[tokio::test]
async fn datagrams_pass_are_counted_with_headers_and_vanish_when_cut() {
    let echo = echo().await;
    let (wan, socket) = network(&echo).await;
    socket.send(b"one").await.unwrap();
    assert_eq!(answer(&socket).await, b"one");
    let traffic = wan.traffic();
    for lane in Lane::UDP {
        let count = traffic.on(lane);
        assert_eq!(
            (count.packets, count.payload_bytes, count.wire_bytes),
            (1, 3, 31)
        );
    }
    wan.cut(&[Lane::UdpDown]);
    socket.send(b"two").await.unwrap();
    let lost = async {
        while wan.traffic().on(Lane::UdpDown).lost == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, lost).await.unwrap();
    wan.restore(&[Lane::UdpDown]);
    socket.send(b"three").await.unwrap();
    assert_eq!(answer(&socket).await, b"three");
}

#[tokio::test]
async fn a_changed_address_is_seen_by_the_server_and_answers_still_come() {
    let echo = echo().await;
    let (wan, socket) = network(&echo).await;
    socket.send(b"one").await.unwrap();
    answer(&socket).await;
    let before = *echo.last_from.borrow();
    wan.change_address();
    let moved = async {
        while *echo.last_from.borrow() == before {
            socket.send(b"two").await.unwrap();
            answer(&socket).await;
        }
    };
    tokio::time::timeout(DEADLINE, moved).await.unwrap();
}

#[tokio::test]
async fn a_middlebox_passes_long_headers_only() {
    let echo = echo().await;
    let (wan, socket) = network(&echo).await;
    wan.pass_only_handshakes();
    socket.send(&[0x40, 1]).await.unwrap();
    socket.send(&[0xc0, 2]).await.unwrap();
    assert_eq!(answer(&socket).await, [0xc0, 2]);
    assert_eq!(wan.traffic().on(Lane::UdpUp).lost, 1);
    wan.pass_everything();
    socket.send(&[0x40, 3]).await.unwrap();
    assert_eq!(answer(&socket).await, [0x40, 3]);
}

#[tokio::test]
async fn a_cut_stream_holds_its_bytes_and_a_broken_one_ends() {
    let echo = echo().await;
    let (wan, _socket) = network(&echo).await;
    let mut stream = TcpStream::connect(wan.websocket()).await.unwrap();
    let mut bytes = [0; 3];
    stream.write_all(b"one").await.unwrap();
    stream.read_exact(&mut bytes).await.unwrap();
    wan.cut(&Lane::TCP);
    stream.write_all(b"two").await.unwrap();
    let sent = async {
        while wan.traffic().on(Lane::TcpUp).payload_bytes < 6 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, sent).await.unwrap();
    assert_eq!(wan.traffic().on(Lane::TcpDown).payload_bytes, 3);
    wan.restore(&Lane::TCP);
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"two");
    wan.break_connections();
    let end = tokio::time::timeout(DEADLINE, stream.read(&mut bytes)).await;
    assert!(matches!(end.unwrap(), Ok(0) | Err(_)));
}

#[tokio::test]
async fn weather_delays_duplicates_and_loses_what_the_seed_says() {
    let echo = echo().await;
    let (wan, socket) = network(&echo).await;
    wan.set_weather(Weather {
        delay_ms: 20,
        duplicate_per_mille: 1_000,
        ..Weather::default()
    });
    let began = Instant::now();
    socket.send(b"one").await.unwrap();
    for _ in 0..4 {
        assert_eq!(answer(&socket).await, b"one");
    }
    assert!(began.elapsed() >= Duration::from_millis(40));
    wan.set_weather(Weather {
        loss_per_mille: 1_000,
        ..Weather::default()
    });
    socket.send(b"two").await.unwrap();
    let lost = async {
        while wan.traffic().on(Lane::UdpUp).lost == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, lost).await.unwrap();
}
