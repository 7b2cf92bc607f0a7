public import MigrationStream

/// What a recorded channel of any kind holds.
public enum ChannelSummary: Sendable {
    case stream(StreamSummary)
    case multifd(MultifdSummary)
    case returnPath(ReturnPathSummary)

    /// Reads all of `input`.
    ///
    /// - Throws: `SystemError` when it cannot be read, `UnknownChannel` when it is no channel. Damage is no error but
    ///   the summary's `failure`.
    public init(scanning input: inout StreamInput) throws {
        let kind = try input.channelKind()
        switch kind {
        case .migration, .recovery, .preempt: self = .stream(try StreamScanner.scan(&input, kind: kind))
        case .multifd: self = .multifd(try MultifdSummary(scanning: &input))
        case .returnPath: self = .returnPath(try ReturnPathSummary(scanning: &input))
        }
    }

    /// Where the channel stops being one, and why; nil if it is whole.
    public var failure: String? {
        switch self {
        case .stream(let summary): summary.failure
        case .multifd(let summary): summary.failure
        case .returnPath(let summary): summary.failure
        }
    }

    /// What is not as it should be although the channel can be read to its end.
    public var problems: [String] {
        guard case .stream(let summary) = self else { return [] }
        var problems: [String] = []
        if let problem = summary.descriptionProblem { problems.append("The description: \(problem)") }
        for device in summary.devices {
            guard let problem = device.problem else { continue }
            problems.append(
                "Section \(device.section.name), instance \(device.section.instance), state at offset "
                    + "\(device.offset) (\(hexadecimal(device.offset))): \(problem)")
        }
        return problems
    }

    /// One line: what it is and how much.
    public var headline: String {
        switch self {
        case .stream(let summary): summary.headline
        case .multifd(let summary): summary.headline
        case .returnPath(let summary): summary.headline
        }
    }

    /// All of it for a person.
    public func text(_ options: SummaryOptions = SummaryOptions()) -> String {
        switch self {
        case .stream(let summary): summary.text(options)
        case .multifd(let summary): summary.text
        case .returnPath(let summary): summary.text
        }
    }

    /// All of it for a program.
    public func json(_ options: SummaryOptions = SummaryOptions()) -> JSONValue {
        switch self {
        case .stream(let summary): summary.json(options)
        case .multifd(let summary): summary.json
        case .returnPath(let summary): summary.json
        }
    }
}

/// How much of a summary is printed.
public struct SummaryOptions: Sendable {
    /// Prints the values of device state.
    public var showsFields = true
    /// If not empty: prints only the sections whose name, or what is behind its last slash, is one of these.
    public var sections: [String] = []

    public init(showsFields: Bool = true, sections: [String] = []) {
        self.showsFields = showsFields
        self.sections = sections
    }

    func includes(_ name: String) -> Bool {
        sections.isEmpty || sections.contains(name)
            || sections.contains(String(name[(name.lastIndex(of: "/").map(name.index(after:)) ?? name.startIndex)...]))
    }
}
