/// The answer to one command: `{"return": VALUE, "id": …}` or `{"error": {…}, "id": …}`.
public struct Reply: Equatable, Sendable {
    public var result: Result<QMPValue, QMPError>
    /// The command's, nil when it had none or could not be read.
    public var id: QMPValue?

    public init(_ result: Result<QMPValue, QMPError>, id: QMPValue? = nil) {
        self.result = result
        self.id = id
    }

    public var value: QMPValue {
        var object = QMPObject()
        switch result {
        case .success(let value): object["return"] = value
        case .failure(let error): object["error"] = error.value
        }
        object["id"] = id
        return .object(object)
    }

    /// Reads a reply; nil when `value` is none.
    public init?(reading value: QMPValue) {
        if let content = value["return"] {
            self.init(.success(content), id: value["id"])
        } else if let content = value["error"] {
            self.init(.failure(QMPError(reading: content)), id: value["id"])
        } else {
            return nil
        }
    }
}
