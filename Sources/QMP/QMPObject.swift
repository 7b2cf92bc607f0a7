/// The members of a JSON object, in the order in which they were added.
///
/// Two objects are equal when they have the same members, in any order.
public struct QMPObject: Sendable {
    /// One member.
    public struct Member: Equatable, Sendable {
        public let name: String
        public var value: QMPValue
    }

    public private(set) var members: [Member] = []
    // Made when there are too many members to look at each: a hostile text must not cost the square of its length.
    private var positions: [String: Int]?
    private static let linearLimit = 12

    public init() {}

    /// Takes over `members`; of two with one name the later stays.
    public init(_ members: [(String, QMPValue)]) {
        for (name, value) in members { self[name] = value }
    }

    public var count: Int { members.count }
    public var isEmpty: Bool { members.isEmpty }

    /// The value of member `name`; setting nil removes the member.
    public subscript(name: String) -> QMPValue? {
        get { position(of: name).map { members[$0].value } }
        set {
            switch (position(of: name), newValue) {
            case (let position?, let value?): members[position].value = value
            case (let position?, nil):
                members.remove(at: position)
                if positions != nil { index() }
            case (nil, let value?):
                members.append(Member(name: name, value: value))
                positions?[name] = members.count - 1
                if positions == nil && members.count > QMPObject.linearLimit { index() }
            case (nil, nil): break
            }
        }
    }

    private func position(of name: String) -> Int? {
        if let positions { return positions[name] }
        return members.firstIndex { $0.name == name }
    }

    private mutating func index() {
        positions = Dictionary(uniqueKeysWithValues: members.enumerated().map { ($1.name, $0) })
    }
}

extension QMPObject: Equatable {
    public static func == (left: QMPObject, right: QMPObject) -> Bool {
        left.count == right.count && left.members.allSatisfy { right[$0.name] == $0.value }
    }
}

extension QMPObject: ExpressibleByDictionaryLiteral {
    public init(dictionaryLiteral elements: (String, QMPValue)...) { self.init(elements) }
}
