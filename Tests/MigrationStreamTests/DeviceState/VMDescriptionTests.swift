import MigrationStream
import Testing

@Suite("VM description") struct VMDescriptionTests {
    @Test(arguments: Fixtures.descriptionFiles)
    func `of QEMU is written again to the letter`(file: String) throws {
        let text = Fixtures.text(file)
        let description = try VMDescription(utf8: text)
        #expect(VMDescriptionWriter(description).utf8 == text)
        #expect(try JSONValue(utf8: text).utf8 == text)
    }

    @Test func `has the configuration from QEMU 8 on`() throws {
        let description = try Fixtures.description("q10-precopy.json")
        #expect(description.configuration?.fields.map(\.name) == ["len", "name"])
        #expect(try Fixtures.description("microvm.json").configuration == nil)
    }

    @Test(arguments: [
        #"{"devices": []}"#, #"{"page_size": 4096}"#, #"{"page_size": 4096, "devices": [{}]}"#,
        #"{"page_size": 4096, "devices": [{"name": "a", "instance_id": 0}]}"#,
        #"{"page_size": 4096, "devices": [{"name": "a", "instance_id": 0, "fields": [{"name": "f"}]}]}"#,
        #"{"page_size": 4096, "devices": [{"name": "a", "instance_id": 0, "fields": [{"name": "f", "type": "u", "size": -1}]}]}"#,
        #"{"page_size": 4096, "devices": [{"name": "a", "instance_id": 0, "fields": [{"name": "f", "type": "struct", "size": 1}]}]}"#,
    ])
    func `is refused without what it must have`(text: String) {
        #expect(throws: StateError.self) { try VMDescription(utf8: Array(text.utf8)) }
    }
}
