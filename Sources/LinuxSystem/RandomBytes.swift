internal import CLinux

/// Fills `buffer` from the kernel's random generator.
public func fillWithRandomBytes(_ buffer: UnsafeMutableRawBufferPointer) {
    let result = clinux_random(buffer.baseAddress, buffer.count)
    // With a valid buffer and no flags the call has no way to fail.
    precondition(result == 0, "getrandom: errno \(-result)")
}

/// Nanoseconds since 1970 by the host's clock.
public var wallClockNanoseconds: Int64 { clinux_wall_nanoseconds() }

/// Nanoseconds of a clock that never steps.
public var monotonicNanoseconds: Int64 { clinux_monotonic_nanoseconds() }
