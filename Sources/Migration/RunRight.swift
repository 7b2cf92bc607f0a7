/// The right to run a guest, in use.
///
/// There is one right per guest, held by a value that cannot be copied: who has paused a guest no longer has a
/// `RunningGuest`, and who handed it to the destination has nothing to resume it with. Made once, by the machine that
/// starts the guest.
public struct RunningGuest: ~Copyable, Sendable {
    public init() {}
}

/// The right to run a guest that stands still.
public struct PausedGuest: ~Copyable, Sendable {
    public init() {}
}

/// The right to run a guest, in either state.
public enum GuestRight: ~Copyable, Sendable {
    case running(RunningGuest)
    case paused(PausedGuest)

    /// Whether the guest runs.
    public var isRunning: Bool {
        switch self {
        case .running: true
        case .paused: false
        }
    }
}

/// What became of a pause or a resume: the right in its new state, or as it was and the reason.
public struct GuestTransition: ~Copyable, Sendable {
    public var right: GuestRight
    public var error: (any Error)?

    public init(_ right: consuming GuestRight, error: (any Error)? = nil) {
        self.right = right
        self.error = error
    }

    /// The right alone.
    public consuming func takeRight() -> GuestRight { right }
}
