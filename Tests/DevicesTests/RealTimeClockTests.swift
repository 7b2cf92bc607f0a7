import Devices
import MigrationStream
import Synchronization
import Testing

/// A clock that the test turns.
private final class TestTime: Sendable {
    private let value: Mutex<Int64>
    init(_ seconds: Int64) { value = Mutex(seconds * 1_000_000_000) }
    var now: Int64 { value.withLock { $0 } }
    func advance(milliseconds: Int64) { value.withLock { $0 += milliseconds * 1_000_000 } }
}

@Suite("Real-time clock") struct RealTimeClockTests {
    private let line = TestLine()
    /// 2026-02-28 23:59:58 UTC, a Saturday.
    private let time = TestTime(1_772_323_198)
    private let clock: RealTimeClock

    init() {
        let time = time
        clock = RealTimeClock(line: line, memory: [(0x15, 0x80)], now: { time.now })
    }

    private func read(_ index: UInt64) -> UInt8 {
        clock.write(index, at: 0, width: 1)
        return UInt8(clock.read(at: 1, width: 1))
    }
    private func write(_ value: UInt8, _ index: UInt64) {
        clock.write(index, at: 0, width: 1)
        clock.write(UInt64(value), at: 1, width: 1)
    }
    /// Year, month, day, weekday, hour, minute, second.
    private var shown: [UInt8] { [0x32, 9, 8, 7, 6, 4, 2, 0].map { read($0) } }

    @Test func `the time is read in binary-coded decimal`() {
        #expect(shown == [0x20, 0x26, 0x02, 0x28, 7, 0x23, 0x59, 0x58])
        time.advance(milliseconds: 2000)
        #expect(shown == [0x20, 0x26, 0x03, 0x01, 1, 0x00, 0x00, 0x00])
    }

    @Test func `binary and twelve hours are possible`() {
        write(0x04, 0x0B)
        #expect(shown == [20, 26, 2, 28, 7, 0x80 | 11, 59, 58])
        time.advance(milliseconds: 2000)
        #expect(read(4) == 12)
    }

    @Test(arguments: [951_782_400, 4_107_542_400, 1_709_164_800, 0, 1_735_689_599] as [Int64])
    func `days of leap years and centuries are right`(seconds: Int64) {
        let time = TestTime(seconds)
        let clock = RealTimeClock(line: line, now: { time.now })
        clock.write(0x0B, at: 0, width: 1)
        clock.write(0x06, at: 1, width: 1)
        let shown = [0x32, 9, 8, 7, 6].map { (index: UInt64) -> Int in
            clock.write(index, at: 0, width: 1)
            return Int(clock.read(at: 1, width: 1))
        }
        let expected: [Int64: [Int]] = [
            951_782_400: [20, 0, 2, 29, 3],  // 2000-02-29, a Tuesday
            4_107_542_400: [21, 0, 3, 1, 2],  // 2100-03-01, a Monday: 2100 has no leap day
            1_709_164_800: [20, 24, 2, 29, 5],  // 2024-02-29, a Thursday
            0: [19, 70, 1, 1, 5], 1_735_689_599: [20, 24, 12, 31, 3],
        ]
        #expect(shown == expected[seconds])
    }

    @Test func `a time that the guest sets goes on from there`() {
        write(0x82, 0x0B)
        for (index, value) in [(0, 0x30), (2, 0x15), (4, 0x08), (7, 0x24), (8, 0x12), (9, 0x31)] as [(UInt64, UInt8)] {
            write(value, index)
        }
        time.advance(milliseconds: 60_000)
        #expect(read(0) == 0x30, "it stands still while it is set")
        write(0x02, 0x0B)
        time.advance(milliseconds: 61_000)
        #expect(shown == [0x20, 0x31, 0x12, 0x24, 4, 0x08, 0x16, 0x31])
    }

    @Test func `flags tell of seconds and of the period, once`() {
        _ = read(0x0C)
        time.advance(milliseconds: 1000)
        #expect(read(0x0C) == 0x50, "no interrupt was wanted")
        #expect(read(0x0C) == 0)
        #expect(!line.isHigh)
    }

    @Test func `the update in progress is seen just before the next second`() {
        #expect(read(0x0A) == 0x26)
        time.advance(milliseconds: 999)
        #expect(read(0x0A) == 0x26)
        let late = TestTime(0)
        late.advance(milliseconds: 0)
        let clock = RealTimeClock(line: line, now: { late.now + 999_900_000 })
        clock.write(0x0A, at: 0, width: 1)
        #expect(clock.read(at: 1, width: 1) == 0xA6)
    }

    @Test func `an alarm interrupts at its time and is taken back by a look at the flags`() {
        for (index, value) in [(1, 0x00), (3, 0x00), (5, 0x00)] as [(UInt64, UInt8)] { write(value, index) }
        write(0x22, 0x0B)
        time.advance(milliseconds: 1000)
        #expect(read(0x0C) & 0xA0 == 0)
        time.advance(milliseconds: 1000)
        clock.resume()
        #expect(line.isHigh)
        #expect(read(0x0C) & 0xA0 == 0xA0)
        #expect(!line.isHigh)
        clock.end()
    }

    @Test func `periodic interrupts come by themselves in real time`() {
        let clock = RealTimeClock(line: line)
        clock.write(0x0A, at: 0, width: 1)
        clock.write(0x2F, at: 1, width: 1)  // two a second
        clock.write(0x0B, at: 0, width: 1)
        clock.write(0x42, at: 1, width: 1)
        for _ in 0..<3 {
            #expect(line.waitUntilHigh())
            clock.write(0x0C, at: 0, width: 1)
            #expect(clock.read(at: 1, width: 1) & 0xC0 == 0xC0)
        }
        clock.end()
    }

    @Test func `a paused clock raises nothing, and its time goes on`() {
        write(0x12, 0x0B)
        clock.pause()
        time.advance(milliseconds: 5000)
        clock.resume()
        #expect(shown[7] == 0x03)
        time.advance(milliseconds: 1000)
        #expect(read(0x0C) & 0x90 == 0x90)
        clock.end()
    }

    @Test func `state moves to a clock on another host and back unchanged`() throws {
        write(0x0F, 0x50)
        write(0x82, 0x0B)
        write(0x11, 2)
        write(0x02, 0x0B)
        let saved = clock.saveSection()
        let time = time
        let other = RealTimeClock(line: TestLine(), now: { time.now })
        try other.loadSection(saved.bytes, version: saved.version)
        #expect(other.saveSection().bytes == saved.bytes)
        time.advance(milliseconds: 3000)
        func shown(_ clock: RealTimeClock) -> [UInt64] {
            ([4, 2, 0, 0x50] as [UInt64]).map {
                clock.write($0, at: 0, width: 1)
                return clock.read(at: 1, width: 1)
            }
        }
        #expect(shown(other) == shown(clock))
        #expect(shown(other) == [0x23, 0x12, 0x01, 0x0F])
    }

    @Test func `a periodic interrupt that is on is in the state as QEMU has it`() {
        write(0x26, 0x0A)
        write(0x42, 0x0B)
        let state = clock.saveState()
        #expect(state.period == 32 && state.periodicTimer.map { Int64($0) } == state.nextPeriodicTime)
        #expect(state.nextPeriodicTime > time.now && state.nextPeriodicTime <= time.now + 976_563)
        clock.end()
    }
}
