internal import CLinux

/// The time of day, for people and for other hosts; it may jump.
public struct WallClock: Equatable, Sendable {
    /// Since 1970, UTC.
    public let seconds: Int64
    /// 0 to 999 999.
    public let microseconds: Int64

    /// Now.
    public static var now: WallClock {
        var seconds: Int64 = 0
        var nanoseconds: Int64 = 0
        clinux_wall_clock(&seconds, &nanoseconds)
        return WallClock(seconds: seconds, microseconds: nanoseconds / 1000)
    }
}
