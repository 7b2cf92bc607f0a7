/// All figures of a move.
extension Figure.Kind {
    public static let totalTime = Self(
        name: "total-ms", title: "Total time", heading: "total", unit: "ms", digits: 0,
        meaning: "From the start until the source has no more to do, as the source's monitor says.")
    public static let downtime = Self(
        name: "downtime-ms", title: "Downtime, by the monitor", heading: "downtime", unit: "ms", digits: 0,
        meaning: "How long no side ran the guest, as the source's monitor says.")
    public static let guestGap = Self(
        name: "guest-gap-ms", title: "Downtime, by the guest", heading: "guest's gap", unit: "ms", digits: 1,
        meaning: "The longest time between two looks at the guest's own clock around the move.")
    public static let networkGap = Self(
        name: "network-gap-ms", title: "Downtime, by a network client", heading: "client's gap", unit: "ms", digits: 1,
        meaning: "The longest time without an answer of the guest on the network, beyond the usual.")
    public static let sent = Self(
        name: "sent-mib", title: "Sent", heading: "sent", unit: "MiB", digits: 1,
        meaning: "All that the source sent.")
    public static let ratio = Self(
        name: "memory-ratio", title: "Sent, in memories", heading: "of memory", unit: "×", digits: 2,
        meaning: "What was sent, divided by the guest's memory.")
    public static let passes = Self(
        name: "passes", title: "Passes", heading: "passes", unit: "", digits: 0,
        meaning: "Times that memory was gone through, the last one with the guest stopped.")
    public static let guestSpeed = Self(
        name: "guest-speed-percent", title: "Guest's speed meanwhile", heading: "speed", unit: "%", digits: 0,
        meaning: "The workload's speed from start to end of the move, downtime included; before it was 100.")
    public static let lostWork = Self(
        name: "lost-work-ms", title: "Work lost", heading: "work lost", unit: "ms", digits: 0,
        meaning: "The time in which the guest would have done, undisturbed, the work that it did not do.")
    public static let pageRequests = Self(
        name: "page-requests", title: "Page requests", heading: "requests", unit: "", digits: 0,
        meaning: "Pages that the destination asked for in post-copy, because the guest wanted them.")
    public static let faults = Self(
        name: "faults", title: "Faults", heading: "faults", unit: "", digits: 0,
        meaning: "Times that the guest waited for a page, as the destination's monitor says.")
    public static let faultMedian = Self(
        name: "fault-p50-us", title: "Wait for a page, median", heading: "fault p50", unit: "µs", digits: 0,
        meaning: "Half of the faults were answered faster.")
    public static let fault99 = Self(
        name: "fault-p99-us", title: "Wait for a page, 99 %", heading: "p99", unit: "µs", digits: 0,
        meaning: "99 of 100 faults were answered faster.")
    public static let faultMaximum = Self(
        name: "fault-max-us", title: "Wait for a page, longest", heading: "max", unit: "µs", digits: 0,
        meaning: "The longest that a virtual CPU waited for one page.")
    public static let pushedPages = Self(
        name: "pushed-pages", title: "Pages pushed", heading: "pushed", unit: "", digits: 0,
        meaning: "Pages that came in post-copy before anybody asked for them.")
    public static let blocked = Self(
        name: "blocked-ms", title: "A virtual CPU stood still", heading: "blocked", unit: "ms", digits: 0,
        meaning: "How long the virtual CPU that waited most for pages stood still in all.")
    public static let lastPage = Self(
        name: "last-page-ms", title: "Time to the last page", heading: "last page", unit: "ms", digits: 0,
        meaning: "From the moment at which the guest could run at the destination until all of its memory was there.")
    public static let sourceCost = Self(
        name: "source-cpu-s", title: "Processor time, source", heading: "CPU source", unit: "s", digits: 2,
        meaning: "Of the source's monitor while the guest moved, without its virtual CPUs.")
    public static let destinationCost = Self(
        name: "destination-cpu-s", title: "Processor time, destination", heading: "CPU dest.", unit: "s", digits: 2,
        meaning: "Of the destination's monitor until the move was over, without its virtual CPUs.")
    public static let checkedPages = Self(
        name: "checked-pages", title: "Pages checked afterwards", heading: "checked", unit: "", digits: 0,
        meaning: "Pages whose content the guest compared with what it wrote, after the move.")
    public static let bad = Self(
        name: "bad", title: "Found wrong", heading: "wrong", unit: "", digits: 0,
        meaning: "Pages or registers that the guest found wrong; 0 is what must be.")
}
