/// What is to be done after a pass.
public enum Decision: Equatable, Sendable {
    case anotherPass
    /// Another pass, with the guest slowed down as given from now on.
    case throttle(GuestThrottle)
    /// Stop the guest, send the rest, hand over.
    case switchOver(Reason)
    /// Let the destination run the guest now and fetch the rest.
    case goPostcopy(Reason)
    /// End the migration; the guest goes on here.
    case giveUp(Reason)

    /// Why a series of passes ends.
    public enum Reason: String, Equatable, Sendable {
        /// So little is left that it is not worth another pass.
        case fewPagesLeft = "few pages left"
        /// A pass sent fewer pages than the guest dirtied meanwhile.
        case notConverging = "the guest dirties pages faster than they are sent"
        case passLimit = "pass limit"
        case downtimeLimit = "the predicted downtime is within its limit"
        /// Another pass would save less than it costs.
        case passDoesNotPay = "another pass does not pay"
        case timeout = "timeout"
        /// Somebody asked for it.
        case request = "request"
    }

    /// Whether a wish for post-copy goes before this: it does not undo an end that was decided.
    var mayBecomePostcopy: Bool {
        switch self {
        case .anotherPass, .throttle: true
        case .switchOver, .goPostcopy, .giveUp: false
        }
    }
}

/// How the guest is kept from dirtying pages faster than they can be sent.
public enum GuestThrottle: Equatable, Sendable {
    case none
    /// Each virtual CPU may take `writeFaultLimit` write faults in each `period`, then waits for the next one.
    case stun(writeFaultLimit: Int, period: Duration)
    /// Each virtual CPU stands still this many percent of the time, 1...99.
    case percentage(Int)
    /// Each virtual CPU may dirty this many bytes a second; nil is no limit. One entry for each virtual CPU.
    case dirtyLimit([Int?])
}
