/// Keeps count of the pages that each virtual CPU may dirty, and says who has to wait.
///
/// In each period a virtual CPU may dirty so many pages. What it dirtied beyond that is a debt, which later periods pay
/// off; while it has one it waits. So the limit is kept on average, however coarsely one looks.
struct DirtyAllowance: Equatable {
    /// Pages for each period, one entry for each virtual CPU; nil is no limit.
    var pagesPerPeriod: [Double?]
    var period: Duration
    private var debts: [Double]

    init(pagesPerPeriod: [Double?], period: Duration) {
        precondition(period > .zero, "a period of \(period)")
        self.pagesPerPeriod = pagesPerPeriod
        self.period = period
        debts = pagesPerPeriod.map { _ in 0 }
    }

    /// Charges the pages that were dirtied in `elapsed`; who has to wait now.
    mutating func charge(_ pageCounts: [Int], elapsed: Duration) -> [Bool] {
        let periods = elapsed / period
        return debts.indices.map { index in
            guard let allowed = pagesPerPeriod[index] else {
                debts[index] = 0
                return false
            }
            let dirtied = index < pageCounts.count ? Double(pageCounts[index]) : 0
            // A debt of more than a few seconds is forgiven: it is from before the limit was in force everywhere.
            let highest = allowed * (Duration.seconds(4) / period)
            debts[index] = min(max(0, debts[index] + dirtied - allowed * periods), highest)
            return debts[index] > 0
        }
    }
}
